// What an experiment has earned against control alone, with its interval.
import { html } from "../vendor/standalone.module.js";
import { change, count, Num, usd } from "../units.js";

export function Earned({ money, control, of }) {
  if (!money || !money.requests) return html`<p class="quiet">No request has been decided yet.</p>`;
  if (money.difference_usd === null) {
    return html`<p class="quiet">What <${Num} of=${`${of}.requests`} value=${money.requests} /> requests earned can't be told yet: the value of an arm is not known.</p>`;
  }
  const show = (number) => (number > 0 ? "+" : "") + usd(number, 3);
  const part = money.always_control_usd > 0 ? money.difference_usd / money.always_control_usd : null;
  return html`<p class="earned">
    <strong><${Num} of=${`${of}.difference_usd`} value=${money.difference_usd} show=${show} /></strong>
    ${" "}against ${control} alone${part !== null && html`, <${Num} of=${`${of}.difference_ratio`} value=${part} show=${change} />`}<br />
    <small>95 %: <${Num} of=${`${of}.difference_usd_low`} value=${money.difference_usd_low} show=${show} /> to <${Num} of=${`${of}.difference_usd_high`} value=${money.difference_usd_high} show=${show} />, over <${Num} of=${`${of}.requests`} value=${money.requests} show=${count} /> requests</small>
  </p>`;
}
