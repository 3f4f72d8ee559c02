// How the traffic is split now: one bar, each arm in its colour, with its name and share beside.
import { html } from "../vendor/standalone.module.js";
import { colourOf } from "../colours.js";
import { Num, share } from "../units.js";

// More names than these say nothing; all of them are in the experiment itself.
const NAMED_MAX = 6;

export function Swatch({ number }) {
  return html`<span class="swatch" style=${{ background: colourOf(number) }} aria-hidden="true"></span>`;
}

export function Shares({ shares, of }) {
  const arms = Object.entries(shares).map(([name, part], number) => ({ name, part, number }));
  if (arms.length === 0) return null;
  const named = new Set([...arms].sort((a, b) => b.part - a.part).slice(0, NAMED_MAX));
  const others = arms.length - named.size;
  return html`<div class="shares">
    <div class="split" aria-hidden="true">
      ${arms.filter((arm) => arm.part > 0).map((arm) => html`<span key=${arm.name} style=${{ flexGrow: arm.part, background: colourOf(arm.number) }}></span>`)}
    </div>
    <ul aria-label="Share of the traffic">
      ${arms.filter((arm) => named.has(arm)).map((arm) => html`<li key=${arm.name}><${Swatch} number=${arm.number} />${arm.name} <${Num} of=${`${of}.${arm.name}`} value=${arm.part} show=${share} /></li>`)}
      ${others > 0 && html`<li class="quiet">and ${others} more</li>`}
    </ul>
  </div>`;
}
