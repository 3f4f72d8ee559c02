// Numbers as people read them, with their units; what is not known is a dash.
import { html } from "./vendor/standalone.module.js";

const MILLION = 1e6;
export const UNKNOWN = "–";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const cents = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

// A number and its unit stay on one line.
const NBSP = "\u00a0";

export const count = (number) => whole.format(number);

// Four digits, never an exponent.
export function digits(number, precision = 4) {
  if (number === 0) return "0";
  const size = Math.abs(number);
  if (size >= 1000) return whole.format(number);
  const places = Math.max(0, Math.min(12, precision - 1 - Math.floor(Math.log10(size))));
  return number.toFixed(places).replace("-", "−");
}

// As many digits as say something.
export const brief = (number) => digits(number).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");

export function usd(number, precision = 4) {
  const sign = number < 0 ? "−" : "";
  const size = Math.abs(number);
  // Cents at least, and no zeros that say nothing.
  const text = size >= 1 ? cents.format(size) : digits(size, precision).replace(/(\.\d\d\d*?)0+$/, "$1");
  return `${sign}$${text}`;
}

export const usdPerMillion = (number) => `${number < 0 ? "−" : ""}$${digits(Math.abs(number) * MILLION, 3)}`;

export function share(number) {
  if (number > 0 && number < 0.0005) return `<0.1${NBSP}%`;
  if (number < 1 && number > 0.9995) return `>99.9${NBSP}%`;
  return `${(100 * number).toFixed(1).replace(/\.0$/, "").replace("-", "−")}${NBSP}%`;
}

// How much more or less, as a share.
export function change(number) {
  const rounded = Math.round(number * 1000) / 1000;
  return `${rounded < 0 ? "" : rounded > 0 ? "+" : "±"}${share(rounded || 0)}`;
}

// A probability that draws estimated: never quite 0 or 1.
export const chance = (number) => (number < 0.0005 ? `<0.1${NBSP}%` : number > 0.9995 ? `>99.9${NBSP}%` : share(number));

export function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)}${NBSP}ms`;
  if (seconds < 120) return `${Math.round(seconds)}${NBSP}s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)}${NBSP}min`;
  if (seconds < 172_800) return `${digits(seconds / 3600, 2)}${NBSP}h`;
  return `${digits(seconds / 86_400, 2)}${NBSP}days`;
}

// Seconds of a duration as the specification writes it: 14d, 1h30m, 500ms, 30.
export function seconds(text) {
  if (typeof text === "number") return text;
  const units = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86_400 };
  let total = 0;
  for (const [, number, unit] of String(text).matchAll(/([\d.]+)(ms|s|m|h|d)?/g)) total += Number(number) * units[unit ?? "s"];
  return total;
}

const pad = (number) => String(number).padStart(2, "0");

// In the reader's own time; the tooltip has UTC.
export function Moment({ at }) {
  if (at === null || at === undefined) return UNKNOWN;
  const when = new Date(at * 1000);
  const day = `${when.getFullYear()}-${pad(when.getMonth() + 1)}-${pad(when.getDate())}`;
  const time = `${pad(when.getHours())}:${pad(when.getMinutes())}:${pad(when.getSeconds())}`;
  const utc = when.toISOString();
  return html`<time datetime=${utc} title=${utc}>${day} ${time}</time>`;
}

// One number: `of` is its place in what the gateway answered, by which tests compare the two.
export function Num({ of, value, show = count }) {
  const isKnown = value !== null && value !== undefined;
  return html`<data class="num" data-of=${of} value=${isKnown ? String(value) : ""}>${isKnown ? show(value) : UNKNOWN}</data>`;
}

// A number with its 95 % interval.
export function Interval({ of, value, low, high, show }) {
  const isKnown = low !== null && low !== undefined;
  return html`<span class="interval"
    ><${Num} of=${of} value=${value} show=${show} />${isKnown &&
    html` <small>(95 %: <${Num} of=${of && `${of}_low`} value=${low} show=${show} /> to <${Num} of=${of && `${of}_high`} value=${high} show=${show} />)</small>`}</span
  >`;
}
