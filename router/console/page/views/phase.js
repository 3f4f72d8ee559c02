// The phase of an experiment as a badge, in words that need no manual.
import { html } from "../vendor/standalone.module.js";

const KINDS = { running: "busy", confirming: "busy", warmup: "wait", draining: "wait", paused: "halt", concluded: "done" };

export function Phase({ phase, isBypassed = false }) {
  return html`<span class="badge" data-kind=${isBypassed ? "halt" : (KINDS[phase] ?? "rest")}>${isBypassed ? "bypassed" : phase}</span>`;
}
