// The traffic shifting: each arm's share of every block's requests, one above the other, and the weights of this moment.
import { html, useEffect, useMemo } from "../vendor/standalone.module.js";
import { colourOf } from "../colours.js";
import { Plot, timeTicks } from "../plot.js";
import { share } from "../units.js";

// A name fits into a band that is this many pixels high.
const NAME_PX = 16;
const EDGE_PX = 34;
const QUARTERS = [0, 0.25, 0.5, 0.75, 1].map((part) => [part, `${100 * part} %`]);

// Return { times, sums }: of each arm, at each time, the sum of its share and those of the arms before it. A block lasts
// `blockS` seconds; what comes after the last one, until `end`, is drawn with the weights.
export function stacked(names, blocks, blockS, weights, end) {
  const times = [];
  const sums = names.map(() => []);
  const add = (at, parts) => {
    times.push(at);
    let total = 0;
    parts.forEach((part, arm) => sums[arm].push((total += part)));
  };
  for (const block of blocks) {
    const counts = names.map((name) => block.decisions[name] ?? 0);
    const requests = counts.reduce((sum, one) => sum + one, 0);
    // A block without a request says nothing of shares.
    if (requests > 0) add(block.at, counts.map((one) => one / requests));
  }
  const last = times.at(-1);
  add(last === undefined ? end - 1 : Math.min(end, last + blockS), weights);
  if (end > times.at(-1)) add(end, weights);
  return { times, sums };
}

export function SharesChart({ arms, blocks, blockS, end }) {
  const names = arms.map((arm) => arm.name);
  const weights = arms.map((arm) => arm.weight);
  performance.mark("shares: begun");
  const { times, sums } = useMemo(() => stacked(names, blocks, blockS, weights, end), [names.join(), blocks, blockS, end, weights.join()]);
  useEffect(() => {
    const frame = requestAnimationFrame(() => performance.measure("shares drawn", "shares: begun"));
    return () => cancelAnimationFrame(frame);
  }, [sums]);
  const words = `Share of the traffic over time, by arm. Now: ${arms.map((arm) => `${arm.name} ${share(arm.weight)}`).join(", ")}.`;
  return html`<${Plot} x=${[times[0], times.at(-1)]} top=${1} yTicks=${QUARTERS} xTicks=${timeTicks} words=${words}>
    ${(toX, toY, width) => html`<${Bands} names=${names} times=${times} sums=${sums} toX=${toX} toY=${toY} width=${width} />`}
  <//>`;
}

// Drawn from the top: each covers what is below it, so that every arm ends as a band.
function Bands({ names, times, sums, toX, toY, width }) {
  const paths = useMemo(() => {
    const xs = times.map((at) => toX(at).toFixed(1));
    const floor = `V${toY(0)}H${xs[0]}Z`;
    return sums.map((row) => `M${row.map((sum, place) => `${xs[place]} ${toY(sum).toFixed(1)}`).join("L")}${floor}`);
  }, [times, sums, width]);
  return html`
    ${paths.map((path, arm) => html`<path key=${names[arm]} class="band" d=${path} fill=${colourOf(arm)} />`).reverse()}
    ${names.map((name, arm) => {
      const { place, top, bottom } = thickest(sums, arm, toY);
      const x = Math.max(toX(times[0]) + EDGE_PX, Math.min(width - EDGE_PX, toX(times[place])));
      return bottom - top >= NAME_PX && html`<text class="name" x=${x} y=${(top + bottom) / 2} text-anchor="middle" dominant-baseline="middle">${name}</text>`;
    })}
  `;
}

// Where an arm has most of the traffic: its name stands there.
function thickest(sums, arm, toY) {
  const below = (place) => (arm ? sums[arm - 1][place] : 0);
  let place = 0;
  for (let other = 1; other < sums[arm].length; other += 1) {
    if (sums[arm][other] - below(other) > sums[arm][place] - below(place)) place = other;
  }
  return { place, top: toY(sums[arm][place]), bottom: toY(below(place)) };
}
