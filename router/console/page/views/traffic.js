// Where the traffic goes, and went: the chart, and a row for each arm.
import { html } from "../vendor/standalone.module.js";
import { experiment } from "../api.js";
import { useAnswer } from "../live.js";
import { Answered } from "../states.js";
import { brief, count, Moment, Num, seconds, share } from "../units.js";
import { Orders } from "./orders.js";
import { SharesChart } from "./shares_chart.js";
import { Swatch } from "./shares.js";

// A new block is seen within this, however long blocks are.
const BLOCKS_S_MAX = 30;
// How much of its length an ended experiment is shown beyond its end.
const BEYOND = 0.25;

export function Traffic({ state, spec, orders }) {
  const blockS = spec ? seconds(spec.policy.block) : BLOCKS_S_MAX;
  const report = useAnswer(`${experiment(state.name)}/report?format=json`, Math.min(BLOCKS_S_MAX, Math.max(2, blockS / 2)));
  return html`
    <${Answered} found=${report} what="the blocks">
      ${(found) => html`<${SharesChart} arms=${state.arms} blocks=${found.blocks} blockS=${blockS} end=${endOf(found)} />`}
    <//>
    <${Arms} state=${state} orders=${orders} />
  `;
}

// Until when the chart goes: now; of what has ended long ago a little beyond the end, so that the way there fills the picture.
function endOf({ started_at: started, ended_at: ended }) {
  const now = Math.round(Date.now() / 1000);
  return started && ended ? Math.min(now, ended + BEYOND * (ended - started)) : now;
}

function Arms({ state, orders }) {
  return html`<div class="overflow-auto" role="region" aria-label="Arms" tabindex="0">
    <table>
      <thead>
        <tr>
          <th scope="col">Arm</th><th scope="col">State</th><th scope="col" class="n">Weight now</th>
          <th scope="col" class="n">Requests</th><th scope="col" class="n">Rewards</th><th scope="col" class="n">Still to come</th>
          <th scope="col" class="n">Errors</th><th scope="col"><span class="hidden">Orders</span></th>
        </tr>
      </thead>
      <tbody>${state.arms.map((arm, number) => html`<${Row} key=${arm.name} arm=${arm} number=${number} state=${state} orders=${orders} />`)}</tbody>
    </table>
  </div>`;
}

function Row({ arm, number, state, orders }) {
  const of = `arms.${arm.name}`;
  const role = arm.name === state.control ? " (control)" : "";
  return html`<tr>
    <th scope="row"><${Swatch} number=${number} />${arm.name}<small>${role}</small></th>
    <td>${arm.state}${arm.reason && html` <small class="reason">${arm.reason}</small>`}${arm.quarantine && html` <small><${Retry} quarantine=${arm.quarantine} /></small>`}</td>
    <td class="n"><${Num} of=${`${of}.weight`} value=${arm.weight} show=${share} /></td>
    <td class="n"><${Num} of=${`${of}.decisions`} value=${arm.decisions} show=${count} /></td>
    <td class="n"><${Num} of=${`${of}.rewards`} value=${arm.rewards} show=${count} /> <small>sum <${Num} of=${`${of}.reward_sum`} value=${arm.reward_sum} show=${brief} /></small></td>
    <td class="n"><${Num} of=${`${of}.pending`} value=${arm.pending} show=${count} /></td>
    <td class="n"><${Num} of=${`${of}.errors`} value=${arm.errors} show=${count} /></td>
    <td><${Orders} name=${state.name} orders=${orders} arm=${arm.name} /></td>
  </tr>`;
}

// An arm in quarantine is tried again after ever longer rests.
function Retry({ quarantine }) {
  return quarantine.is_trying ? "(being tried)" : html`(next try at <${Moment} at=${quarantine.next_try_at} />)`;
}
