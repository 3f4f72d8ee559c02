// What predictions cost: the cost that decides, and what was billed, busy and idle.
import { html } from "../vendor/standalone.module.js";
import { useAnswer } from "../live.js";
import { Answered } from "../states.js";
import { count, digits, Moment, Num, share, usd, usdPerMillion } from "../units.js";
import { Swatch } from "./shares.js";

export function Cost({ state }) {
  const costs = useAnswer("/admin/v1/costs", 2);
  return html`
    <${Deciding} state=${state} />
    <${Answered} found=${costs} what="the bills">${(bills) => html`<${Billed} state=${state} bills=${bills} />`}<//>
  `;
}

function Deciding({ state }) {
  return html`<h3>The cost that decides</h3>
    <p class="quiet">All arms at the same batch of <${Num} of="reference_rows" value=${state.reference_rows} show=${count} /> rows and today's price, so that none looks dear for being seldom asked.</p>
    <div class="overflow-auto" role="region" aria-label="The cost that decides" tabindex="0"><table>
      <thead><tr><th scope="col">Arm</th><th scope="col" class="n">Cost, $ per million</th><th scope="col" class="n">Price, $ per hour</th></tr></thead>
      <tbody>${state.arms.map((arm, number) => html`<tr key=${arm.name}>
        <th scope="row"><${Swatch} number=${number} />${arm.name}</th>
        <td class="n"><${Num} of=${`arms.${arm.name}.prediction_cost_usd`} value=${arm.prediction_cost_usd} show=${usdPerMillion} /></td>
        <td class="n"><${Num} of=${`arms.${arm.name}.price_usd_per_hour`} value=${arm.price_usd_per_hour} show=${usd} /></td>
      </tr>`)}</tbody>
    </table></div>`;
}

function Billed({ state, bills }) {
  const rows = state.arms.map((arm, number) => ({ arm, number, bill: bills.versions.find((one) => one.experiment === state.name && one.arm === arm.name) }));
  return html`<h3>Billed</h3>
    <p class="quiet">Since <${Moment} at=${bills.since} />: an arm's own busy time, and its equal part of the time in which its machine idled.</p>
    <div class="overflow-auto" role="region" aria-label="Billed" tabindex="0"><table>
      <thead><tr><th scope="col">Arm</th><th scope="col" class="n">Busy</th><th scope="col" class="n">Idle</th><th scope="col" class="n">Egress</th><th scope="col">Split</th></tr></thead>
      <tbody>${rows.map(({ arm, number, bill }) => html`<tr key=${arm.name}>
        <th scope="row"><${Swatch} number=${number} />${arm.name}</th>
        <td class="n"><${Num} of=${`costs.${arm.name}.busy_usd`} value=${bill?.busy_usd} show=${usd} /></td>
        <td class="n"><${Num} of=${`costs.${arm.name}.idle_usd`} value=${bill?.idle_usd} show=${usd} /></td>
        <td class="n"><${Num} of=${`costs.${arm.name}.egress_usd`} value=${bill?.egress_usd} show=${usd} /></td>
        <td><${Split} bill=${bill} /></td>
      </tr>`)}</tbody>
    </table></div>`;
}

function Split({ bill }) {
  const total = bill ? bill.busy_usd + bill.idle_usd + (bill.egress_usd ?? 0) : 0;
  if (!total) return "–";
  return html`<small>busy ${share(bill.busy_usd / total)}, idle ${share(bill.idle_usd / total)}${bill.egress_usd ? `, egress ${share(bill.egress_usd / total)}` : ""}</small>`;
}
