// The traffic shifting: each arm's share of every block's requests, one above the other, and the weights of this moment.
import { html, useEffect, useMemo } from "../vendor/standalone.module.js";
import { colourOf } from "../colours.js";
import { Plot, timeTicks } from "../plot.js";
import { share } from "../units.js";

// A name fits into a band that is this many pixels high; a character of it is so wide at most.
const NAME_PX = 16;
const CHAR_PX = 8;
// Where a name might stand is tried at so many places.
const PLACES = 120;
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
      const room = roomiest(name, arm, { times, sums, toX, toY });
      return room && html`<text class="name" x=${room.x} y=${room.y} text-anchor="middle" dominant-baseline="middle">${name}</text>`;
    })}
  `;
}

// Return the middle of the highest box within an arm's band that is as wide as its name; null when the name fits in nowhere.
function roomiest(name, arm, { times, sums, toX, toY }) {
  const [from, to] = [toX(times[0]), toX(times.at(-1))];
  const step = (to - from) / PLACES;
  const edges = [];
  let block = 0;
  for (let place = 0; place <= PLACES; place += 1) {
    const at = times[0] + ((times.at(-1) - times[0]) * place) / PLACES;
    while (block < times.length - 2 && times[block + 1] < at) block += 1;
    const part = Math.min(1, (at - times[block]) / (times[block + 1] - times[block] || 1));
    const sum = (row) => (row ? row[block] + (row[block + 1] - row[block]) * part : 0);
    edges.push([toY(sum(sums[arm])), toY(sum(sums[arm - 1]))]);
  }
  // With a character's width of air.
  const reach = Math.ceil(((name.length + 1) * CHAR_PX) / 2 / step);
  let best = null;
  for (let place = reach; place <= PLACES - reach; place += 1) {
    const box = edges.slice(place - reach, place + reach + 1);
    const [top, bottom] = [Math.max(...box.map((edge) => edge[0])), Math.min(...box.map((edge) => edge[1]))];
    if (bottom - top >= NAME_PX && bottom - top > (best?.height ?? 0)) best = { height: bottom - top, x: from + place * step, y: (top + bottom) / 2 };
  }
  return best;
}
