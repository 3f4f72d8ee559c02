// A number against the bar it has to reach or to fall below, as a bar with a mark; the words beside it say the same.
import { html } from "../vendor/standalone.module.js";

export function Meter({ value, bar, isReached, colour }) {
  if (value === null || value === undefined || bar === null || bar === undefined) return null;
  // The mark is always at the same place; far beyond it is only that.
  const most = bar * 1.5;
  const part = (number) => `${Math.max(0, Math.min(100, (100 * number) / most))}%`;
  return html`<div class="meter" data-reached=${isReached} aria-hidden="true">
    <span class="fill" style=${{ width: part(value), background: colour }}></span>
    <span class="mark" style=${{ left: part(bar) }}></span>
  </div>`;
}
