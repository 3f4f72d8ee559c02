// What an experiment is doing, in a sentence or two.
import { html } from "../vendor/standalone.module.js";
import { chance, Num } from "../units.js";
import { sentence } from "../states.js";

export function headline(state) {
  const { control, leader, winner, phase, outcome } = state;
  if (state.bypassed) return `Bypassed: all traffic goes to ${winner ?? control}. ${sentence(state.reason)}`;
  switch (phase) {
    case "draft":
      return `Not started. Control, ${control}, serves.`;
    case "warmup":
      return `Arms are loaded and measured before they get traffic; control, ${control}, serves. ${sentence(state.reason)}`;
    case "paused":
      return `Paused: control, ${control}, serves, and nothing is learned. ${sentence(state.reason)}`;
    case "running":
      if (state.mode === "observe") return html`<${Leading} state=${state} /> It is only watched: control, ${control}, serves all traffic.`;
      return leader ? html`<${Leading} state=${state} /> The traffic follows what is learned.` : "Traffic is split equally until enough is known.";
    case "confirming":
      return html`<${Leading} state=${state} /> Nothing more is to be won by looking on; what is left is to refute every challenger.`;
    case "draining":
      return `${winner} has won. The others get no new requests, finish what they have, and are unloaded. ${waits(state)}`.trim();
    case "concluded":
      return `${ended(state, outcome)} ${waits(state)}`.trim();
    case "archived":
      return `Put away. ${ended(state, outcome)}`;
    default:
      return sentence(state.reason);
  }
}

function Leading({ state }) {
  if (!state.leader) return "No arm leads yet.";
  const sure = state.arms.find((one) => one.name === state.leader)?.best_probability ?? null;
  const isControl = state.leader === state.control ? ", which is control," : "";
  const how = sure !== null && html`: it earns most with a probability of <${Num} of=${`arms.${state.leader}.best_probability`} value=${sure} show=${inWords} />`;
  return html`${state.leader}${isControl} leads${how}.`;
}

const inWords = (number) => chance(number).replace("<", "less than ").replace(">", "more than ");

function ended(state, outcome) {
  if (outcome === "replaced") return `${state.winner} serves in the place of ${state.control}.`;
  if (outcome === "kept") return `${state.winner ?? state.control}, which was control, stays.`;
  if (outcome === "undecided") return "Ended undecided: no arm was shown to be better, and nothing was unloaded.";
  return "";
}

function waits(state) {
  const loaded = state.arms.filter((arm) => arm.state === "standby").map((arm) => arm.name);
  return loaded.length ? `Still loaded, and restorable at once: ${loaded.join(", ")}.` : "";
}
