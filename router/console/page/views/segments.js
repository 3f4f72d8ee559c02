// Segments of the traffic: each learns by itself, with weights of its own, and may settle on an arm of its own.
import { html } from "../vendor/standalone.module.js";
import { chance, count, digits, Interval, Num, share, usdPerMillion } from "../units.js";
import { Swatch } from "./shares.js";

export function Segments({ state }) {
  if (!state.segments?.length) return html`<p class="empty">All traffic is one: no segments are named in <code>policy.segments</code>.</p>`;
  return html`
    <p class="quiet">Requests say in <code>turpin-segment</code> to which segment they belong. Each has weights of its own; when the experiment ends all traffic together decides.</p>
    ${state.segments.map((one) => html`<${Segment} key=${one.name} one=${one} />`)}
  `;
}

function Segment({ one }) {
  const of = `segments.${one.name}`;
  return html`<section class="segment" aria-labelledby=${of}>
    <h3 id=${of}>${one.name}</h3>
    <p>${one.traffic_ratio !== null && html`<${Num} of=${`${of}.traffic_ratio`} value=${one.traffic_ratio} show=${share} /> of the traffic. `}${standing(one)}</p>
    <div class="overflow-auto" role="region" aria-label=${`Arms in ${one.name}`} tabindex="0"><table>
      <thead><tr>
        <th scope="col">Arm</th><th scope="col" class="n">Weight now</th><th scope="col" class="n">Requests</th><th scope="col" class="n">Earns most with</th>
        <th scope="col" class="n">Value, $ per million</th><th scope="col" class="n">Reward, mean</th>
      </tr></thead>
      <tbody>${one.arms.map((arm, number) => html`<${Row} key=${arm.name} arm=${arm} number=${number} of=${`${of}.arms.${arm.name}`} />`)}</tbody>
    </table></div>
  </section>`;
}

function standing(one) {
  if (one.serves) return `It is settled on ${one.serves}.`;
  return one.leader ? `${one.leader} leads here; it goes on learning.` : "No arm leads here yet.";
}

function Row({ arm, number, of }) {
  return html`<tr>
    <th scope="row"><${Swatch} number=${number} />${arm.name}</th>
    <td class="n"><${Num} of=${`${of}.weight`} value=${arm.weight} show=${share} /></td>
    <td class="n"><${Num} of=${`${of}.decisions`} value=${arm.decisions} show=${count} /></td>
    <td class="n"><${Num} of=${`${of}.best_probability`} value=${arm.best_probability} show=${chance} /></td>
    <td class="n"><${Interval} of=${`${of}.value_usd`} value=${arm.value_usd} low=${arm.value_usd_low} high=${arm.value_usd_high} show=${usdPerMillion} /></td>
    <td class="n"><${Num} of=${`${of}.rate`} value=${arm.rate} show=${digits} /></td>
  </tr>`;
}
