// A chart as SVG, of our own: uPlot would weigh 22 of the console's 60 kB.
//
// It is as wide as there is room, with its axes, in the theme's colours, and told in words to those who can't see it.
import { html, useEffect, useRef, useState } from "./vendor/standalone.module.js";

const LEFT = 44;
const RIGHT = 12;
const TOP = 14;
const BOTTOM = 24;
// One label each so many pixels.
const SPACE_PX = 90;
// Nearer to an edge a label would be cut off.
const EDGE = 30;
const MINUTE = 60;
const HOUR = 3600;
const DAY = 86_400;
const STEPS_S = [1, 2, 5, 10, 15, 30, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 28 * DAY];

function useWidth() {
  const place = useRef(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const measure = () => setWidth(Math.floor(place.current.clientWidth));
    const watching = new ResizeObserver(measure);
    watching.observe(place.current);
    measure();
    return () => watching.disconnect();
  }, []);
  return [place, width];
}

// `x` is [from, to]; `y` goes from 0 to `top`, with `yTicks` as [value, text]. `xTicks(from, to, count)` returns the same for x.
// `children(toX, toY, width)` draws inside; all of it is in pixels.
export function Plot({ x: [from, to], top, xTicks, yTicks = [], words, height = 260, children }) {
  const [place, width] = useWidth();
  const left = yTicks.length ? LEFT : RIGHT;
  const toX = (value) => left + ((value - from) / (to - from || 1)) * (width - left - RIGHT);
  const toY = (value) => height - BOTTOM - (value / top) * (height - BOTTOM - TOP);
  return html`<div class="plot" ref=${place}>
    ${width > 0 &&
    html`<svg role="img" aria-label=${words} width=${width} height=${height}>
      ${yTicks.map(([value, text]) => html`<line class="grid" x1=${left} x2=${width - RIGHT} y1=${toY(value)} y2=${toY(value)} /><text x=${left - 6} y=${toY(value)} text-anchor="end" dominant-baseline="middle">${text}</text>`)}
      ${children(toX, toY, width)}
      <line class="grid" x1=${left} x2=${width - RIGHT} y1=${toY(0)} y2=${toY(0)} />
      ${xTicks(from, to, Math.max(2, width / SPACE_PX)).map(([value, text]) => toX(value) > EDGE && toX(value) < width - EDGE && html`<text x=${toX(value)} y=${height - 6} text-anchor="middle">${text}</text>`)}
    </svg>`}
  </div>`;
}

// Ticks at 1, 2 or 5 times a power of ten.
export function numberTicks(from, to, most, show) {
  const rough = (to - from) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const ticks = [];
  for (let tick = Math.ceil(from / step) * step; tick <= to; tick += step) ticks.push([tick, show(tick)]);
  return ticks;
}

// Ticks at whole seconds, minutes, hours or days of the reader's own time.
export function timeTicks(from, to, most) {
  const step = STEPS_S.find((one) => (to - from) / one <= most) ?? STEPS_S.at(-1);
  const shift = new Date(from * 1000).getTimezoneOffset() * MINUTE;
  const ticks = [];
  for (let tick = Math.ceil((from - shift) / step) * step + shift; tick <= to; tick += step) ticks.push([tick, clock(new Date(tick * 1000), step)]);
  return ticks;
}

function clock(when, step) {
  const two = (number) => String(number).padStart(2, "0");
  if (step >= DAY || (step >= HOUR && when.getHours() === 0)) return `${two(when.getMonth() + 1)}-${two(when.getDate())}`;
  const time = `${two(when.getHours())}:${two(when.getMinutes())}`;
  return step < MINUTE ? `${time}:${two(when.getSeconds())}` : time;
}
