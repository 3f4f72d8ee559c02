// What stands in the place of something that is not there: still loading, failed, or empty.
import { html } from "./vendor/standalone.module.js";

// Show `children` of an answer's value; until there is one, that it is on its way, or why it is not.
export function Answered({ found, what, children }) {
  const { value, problem } = found;
  return html`
    ${problem && html`<${Trouble} problem=${problem} what=${what} isOld=${value !== null} />`}
    ${value !== null ? children(value) : !problem && html`<p class="quiet loading">Loading ${what} …</p>`}
  `;
}

export function Trouble({ problem, what, isOld = false }) {
  const tail = isOld ? " What you see is the last that was known." : "";
  return html`<div class="trouble" role="alert">
    <p><strong>${problem.title}</strong>${problem.status === 404 ? "" : ` while asking for ${what}`}.${problem.detail && ` ${sentence(problem.detail)}`}${tail}</p>
    ${problem.errors.length > 0 && html`<ul>${problem.errors.map((one) => html`<li><code>${one.field}</code> ${one.message}</li>`)}</ul>`}
  </div>`;
}

export function Empty({ children }) {
  return html`<div class="empty">${children}</div>`;
}

// Words of the gateway as a sentence. A name at their beginning stays as it is: v2, not V2.
export const sentence = (words) => {
  const text = String(words ?? "").trim();
  const first = /^[a-z]+[ ,:]/.test(text) ? text[0].toUpperCase() : text.slice(0, 1);
  return first + text.slice(1) + (text === "" || /[.!?…]$/.test(text) ? "" : ".");
};
