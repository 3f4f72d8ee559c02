// What each arm's predictions are worth, and how sure that is: the posterior densities, and the numbers beside.
import { html, useMemo } from "../vendor/standalone.module.js";
import { colourOf } from "../colours.js";
import { densities } from "../density.js";
import { numberTicks, Plot } from "../plot.js";
import { chance, digits, Interval, Num, usdPerMillion } from "../units.js";
import { Swatch } from "./shares.js";

// Half of a character of the names, and a little between two.
const CHAR_PX = 4.5;

export function Value({ state, spec }) {
  return html`
    <p class="quiet">Value of a prediction: its reward times what that is worth, less what it costs. The narrower a curve, the more is known.</p>
    ${spec && html`<${Curves} state=${state} spec=${spec} />`}
    <${Table} state=${state} />
  `;
}

function Curves({ state, spec }) {
  const { reward, value_usd: worth } = spec.objective;
  const key = state.arms.map((arm) => [arm.value_usd_low, arm.value_usd_high]).join();
  const found = useMemo(() => densities(state.arms, reward.type, worth), [key, reward.type, worth]);
  if (!found) return html`<p class="empty">Nothing is known of any arm's value yet: it takes a measured cost and rewards.</p>`;
  const best = state.leader ? ` ${state.leader} leads.` : "";
  const words = `Posterior density of each arm's value in dollars per million predictions.${best} The table has the numbers.`;
  const { from, to, curves } = found;
  return html`<${Plot} x=${[from, to]} top=${1.12} xTicks=${dollars} words=${words} height=${230}>
      ${(toX, toY, width) => html`
        ${state.arms.map((arm, number) => html`<${Curve} key=${arm.name} number=${number} points=${curves[number]} toX=${toX} toY=${toY} />`)}
        ${named(state, curves, toX, width).map(({ name, x }) => html`<text class="peak" x=${x} y=${toY(1) - 5} text-anchor="middle">${name}</text>`)}
      `}
    <//>
    <p class="axis quiet">value, $ per million predictions; each curve is scaled to the same height</p>`;
}

const dollars = (from, to, most) => numberTicks(from, to, most, (tick) => `$${digits(tick, 3)}`);

// Names stand above their curves, the leader's first, as far as there is room for them.
function named(state, curves, toX, width) {
  const first = (arm) => (arm.name === state.leader ? 2 : arm.name === state.control ? 1 : arm.best_probability ?? 0);
  const places = state.arms
    .map((arm, number) => ({ name: arm.name, rank: first(arm), peak: curves[number]?.find(([, height]) => height === 1), half: arm.name.length * CHAR_PX }))
    .filter((one) => one.peak)
    .sort((a, b) => b.rank - a.rank);
  const kept = [];
  for (const { name, peak, half } of places) {
    const x = Math.max(half, Math.min(width - half, toX(peak[0])));
    if (kept.every((other) => Math.abs(other.x - x) > other.half + half)) kept.push({ name, x, half });
  }
  return kept;
}

function Curve({ number, points, toX, toY }) {
  if (!points) return null;
  const line = points.map(([value, height]) => `${toX(value).toFixed(1)} ${toY(height).toFixed(1)}`).join("L");
  const colour = colourOf(number);
  return html`<path class="curve" d=${`M${toX(points[0][0])} ${toY(0)}L${line}L${toX(points.at(-1)[0])} ${toY(0)}`} stroke=${colour} fill=${colour} />`;
}

function Table({ state }) {
  return html`<div class="overflow-auto" role="region" aria-label="Value of each arm" tabindex="0">
    <table>
      <thead>
        <tr>
          <th scope="col">Arm</th><th scope="col" class="n">Earns most with</th><th scope="col" class="n">Value, $ per million</th>
          <th scope="col" class="n">Reward, mean</th><th scope="col" class="n">Cost, $ per million</th>
        </tr>
      </thead>
      <tbody>${state.arms.map((arm, number) => html`<${Row} key=${arm.name} arm=${arm} number=${number} />`)}</tbody>
    </table>
  </div>`;
}

function Row({ arm, number }) {
  const of = `arms.${arm.name}`;
  return html`<tr>
    <th scope="row"><${Swatch} number=${number} />${arm.name}</th>
    <td class="n"><${Num} of=${`${of}.best_probability`} value=${arm.best_probability} show=${chance} /></td>
    <td class="n"><${Interval} of=${`${of}.value_usd`} value=${arm.value_usd} low=${arm.value_usd_low} high=${arm.value_usd_high} show=${usdPerMillion} /></td>
    <td class="n"><${Num} of=${`${of}.rate`} value=${arm.rate} show=${digits} /></td>
    <td class="n"><${Num} of=${`${of}.prediction_cost_usd`} value=${arm.prediction_cost_usd} show=${usdPerMillion} /></td>
  </tr>`;
}
