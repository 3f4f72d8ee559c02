// The orders that can be given: those that the experiment would obey now, to those whose role allows them.
import { html, useState } from "../vendor/standalone.module.js";
import { experiment } from "../api.js";
import { useAnswer } from "../live.js";
import { may } from "../session.js";
import { OrderDialog } from "./order_dialog.js";

// What each order does, for the dialog; `isGrave` ones ask for a second look by their colour.
export const ORDERS = {
  start: { word: "Start", about: "Arms are loaded and measured; then they get traffic." },
  pause: { word: "Pause", about: "Control serves all traffic, and nothing is learned or retired until somebody resumes." },
  resume: { word: "Resume", about: "It goes on where it was." },
  bypass: { word: "Bypass", about: "All traffic goes to the arm that serves, at once and even while the store is away.", isGrave: true },
  promote: { word: "Promote", about: "This arm wins by your word, whatever the evidence says; the others go as losers do.", isGrave: true },
  rollback: { word: "Roll back", about: "Control serves, now or as soon as it is loaded; what it replaces goes as a loser does.", isGrave: true },
  stop: { word: "Stop", about: "It ends undecided: weights stay as they are, and nothing is unloaded.", isGrave: true },
  archive: { word: "Archive", about: "It is put away; its model is free for another experiment." },
  drain: { word: "Drain", about: "This arm gets no more traffic; it stays loaded for the grace period." },
  restore: { word: "Restore", about: "This arm takes part again: at once if it is still loaded, else when it is loaded and measured." },
  retire: { word: "Retire", about: "This arm gets no more traffic and is unloaded without its grace period.", isGrave: true },
};

// Return the orders that would be obeyed now, none for those whose role allows none.
export function useOrders(state, who) {
  // Asked for anew when the state changes, and now and then.
  const turn = [state.phase, state.bypassed, state.winner, ...state.arms.map((arm) => arm.state)].join();
  const { value } = useAnswer(may(who, "operator") ? `${experiment(state.name)}/orders` : "", 5, turn);
  return value && may(who, value.role) ? value.orders.filter((one) => one.refusal === "") : [];
}

export function Orders({ name, orders, arm = null }) {
  const own = orders.filter((one) => one.arm === arm);
  return html`<${Buttons} name=${name} orders=${own} arm=${arm} label=${`Orders to ${arm ?? "the experiment"}`} />`;
}

function Buttons({ name, orders, arm, label }) {
  const [open, setOpen] = useState(null);
  if (orders.length === 0 && !open) return null;
  return html`<ul class="orders" aria-label=${label}>
      ${orders.map(({ order }) => html`<li key=${order}><button type="button" class="outline small ${ORDERS[order].isGrave ? "contrast" : "secondary"}"
        aria-label=${arm ? `${ORDERS[order].word} ${arm}` : undefined} onClick=${() => setOpen(order)}>${ORDERS[order].word}</button></li>`)}
    </ul>
    ${open && html`<${OrderDialog} name=${name} order=${open} arm=${arm} about=${ORDERS[open]} onClose=${() => setOpen(null)} />`}`;
}
