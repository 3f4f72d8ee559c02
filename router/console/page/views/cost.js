// What predictions cost: the cost that decides, and what was billed, busy, idle and for egress.
import { html } from "../vendor/standalone.module.js";
import { useAnswer } from "../live.js";
import { Answered } from "../states.js";
import { count, Moment, Num, usd, usdPerMillion } from "../units.js";
import { Swatch } from "./shares.js";

export function Cost({ state }) {
  const costs = useAnswer("/admin/v1/costs", 1);
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
    <p class="quiet">Since <${Moment} at=${bills.since} />: an arm's own busy time and egress, and its equal part of the time in which its machine idled. Beside it what that comes to for each of the epoch's predictions.</p>
    <div class="overflow-auto" role="region" aria-label="Billed" tabindex="0"><table>
      <thead><tr><th scope="col">Arm</th><th scope="col" class="n">Busy</th><th scope="col" class="n">Idle</th><th scope="col" class="n">Egress</th><th scope="col" class="n">$ per million</th><th scope="col">of it busy, idle, egress</th></tr></thead>
      <tbody>${rows.map((row) => html`<${Bill} key=${row.arm.name} ...${row} />`)}</tbody>
    </table></div>`;
}

const PARTS = ["busy", "idle", "egress"];

function Bill({ arm, number, bill }) {
  const split = splitOf(arm, bill);
  const total = split && split.busy + split.idle + split.egress;
  return html`<tr>
    <th scope="row"><${Swatch} number=${number} />${arm.name}</th>
    ${PARTS.map((part) => html`<td class="n"><${Num} of=${`costs.${arm.name}.${part}_usd`} value=${bill?.[`${part}_usd`]} show=${usd} /></td>`)}
    <td class="n"><${Num} of=${`costs.${arm.name}.per_prediction`} value=${total} show=${usdPerMillion} /></td>
    <td>${split && html`<div class="parts" aria-hidden="true">${PARTS.map((part) => html`<span data-part=${part} style=${{ flexGrow: split[part] / total }}></span>`)}</div>
      <small>${PARTS.map((part, place) => html`${place > 0 && ", "}<${Num} of=${`costs.${arm.name}.${part}_per_prediction`} value=${split[part]} show=${usdPerMillion} />`)}</small>`}</td>
  </tr>`;
}

// Return what a prediction of this epoch cost in each part, null where nothing was billed for any. The epoch's own bill is known
// as one sum of busy time and egress; its parts, and idle time with them, are taken as in the bills of all time.
function splitOf(arm, bill) {
  const paid = bill ? bill.busy_usd + bill.egress_usd : 0;
  if (!paid || !arm.rows) return null;
  const each = arm.cost_usd / arm.rows / paid;
  return { busy: bill.busy_usd * each, idle: bill.idle_usd * each, egress: bill.egress_usd * each };
}
