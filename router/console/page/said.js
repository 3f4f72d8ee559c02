// What was just done, for eyes and for screen readers.
import { html, useEffect } from "./vendor/standalone.module.js";
import { observable } from "./observable.js";

const SHOWN_MS = 8_000;

const said = observable("");

export const say = (words) => said.set(words);

export function Said() {
  const words = said.use();
  useEffect(() => {
    if (!words) return undefined;
    const timer = setTimeout(() => said.set(""), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [words]);
  return html`<div class="said" role="status" aria-live="polite">${words && html`<p>${words}</p>`}</div>`;
}
