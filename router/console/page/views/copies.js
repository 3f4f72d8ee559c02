// Copies of answered requests that are sent to an arm nobody is answered from, or to a version being deployed: do they agree?
import { html } from "../vendor/standalone.module.js";
import { count, digits, Moment, Num, share, usd } from "../units.js";

export function Copies({ state }) {
  if (!state.shadow?.length) return html`<p class="empty">No requests are copied: no arms are named in <code>shadow.arms</code>.</p>`;
  return html`
    <p class="quiet">Nobody is answered from a copy, and nothing is learned from one. Counted since <${Moment} at=${state.shadow[0].since} />.</p>
    <div class="cards two">${state.shadow.map((one) => html`<${Shadow} key=${`${one.arm} ${one.is_deployment}`} one=${one} />`)}</div>
  `;
}

function Shadow({ one }) {
  const of = `shadow.${one.arm}`;
  const whose = one.against.length ? one.against.join(", ") : "every other arm";
  return html`<article aria-labelledby=${of}>
    <header><h3 id=${of}>${one.arm}</h3>${one.is_deployment && html`<span class="badge" data-kind="wait">being deployed</span>`}</header>
    <p>${one.compared > 0
      ? html`<strong><${Num} of=${`${of}.agreement`} value=${one.agreement} show=${share} /></strong> agreement with the answers of ${whose}, over <${Num} of=${`${of}.compared`} value=${one.compared} show=${count} /> copies.`
      : html`Nothing was compared with the answers of ${whose} yet.`}</p>
    ${one.waits_for && html`<p class="trouble">No copies are sent now: ${one.waits_for}.</p>`}
    <dl class="facts">
      <dt>Copied</dt><dd><${Num} of=${`${of}.share`} value=${one.share} show=${share} /> of the requests: <${Num} of=${`${of}.mirrored`} value=${one.mirrored} show=${count} /> of <${Num} of=${`${of}.requests`} value=${one.requests} show=${count} /> drawn</dd>
      <dt>Differing</dt><dd><${Num} of=${`${of}.differing`} value=${one.differing} show=${count} /></dd>
      <dt>Not answered</dt><dd><${Kinds} of=${`${of}.errors`} kinds=${one.errors} /></dd>
      <dt>Not copied</dt><dd><${Kinds} of=${`${of}.dropped`} kinds=${one.dropped} /></dd>
      <dt>Half within</dt><dd><${Times} of=${of} one=${one} part="p50" /></dd>
      <dt>99 % within</dt><dd><${Times} of=${of} one=${one} part="p99" /></dd>
      <dt>Cost of the copies</dt><dd><${Num} of=${`${of}.cost_usd`} value=${one.cost_usd} show=${usd} /></dd>
    </dl>
  </article>`;
}

// By the gateway's own names of errors and reasons.
function Kinds({ of, kinds }) {
  const found = Object.entries(kinds);
  if (found.length === 0) return "none";
  return found.map(([kind, number], place) => html`${place > 0 && ", "}${kind.replaceAll("_", " ")} <${Num} of=${`${of}.${kind}`} value=${number} show=${count} />`);
}

const milliseconds = (number) => `${digits(number, 3)}\u00a0ms`;

function Times({ of, one, part }) {
  return html`<${Num} of=${`${of}.shadow_ms.${part}`} value=${one.shadow_ms[part]} show=${milliseconds} />, and the answers within <${Num} of=${`${of}.answered_ms.${part}`} value=${one.answered_ms[part]} show=${milliseconds} />`;
}
