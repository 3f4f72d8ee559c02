// An order before it is given: what it would do, why, and only then the button that does it.
import { html, useEffect, useRef, useState } from "../vendor/standalone.module.js";
import { call, experiment } from "../api.js";
import { refresh } from "../live.js";
import { say } from "../said.js";
import { Trouble } from "../states.js";
import { Num, share } from "../units.js";
import { Swatch } from "./shares.js";

const REASON_CHARS_MAX = 1000;
const STORE_AWAY = 503;
const CHANGED_MEANWHILE = 412;

function pathOf(name, order, arm) {
  const path = experiment(name);
  return arm === null || order === "promote" ? `${path}:${order}` : `${path}/arms/${encodeURIComponent(arm)}:${order}`;
}

const bodyOf = (order, arm, reason) => (order === "promote" ? { arm, reason } : { reason });

// So that an order that is sent twice is obeyed once. `randomUUID` is only there on secure origins.
function freshKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function OrderDialog({ name, order, arm, about, onClose }) {
  const dialog = useRef(null);
  const key = useRef(freshKey());
  const [foreseen, setForeseen] = useState(null);
  const [problem, setProblem] = useState(null);
  const [reason, setReason] = useState("");
  const [isSending, setIsSending] = useState(false);
  const what = `${about.word} ${arm ?? name}`;
  // The one order that must work while the store is away, when nothing can be foreseen.
  const isBlind = order === "bypass" && !foreseen && problem?.status === STORE_AWAY;

  const look = async () => {
    try {
      setForeseen(await call(`${pathOf(name, order, arm)}?dryRun=true`, { method: "POST", body: bodyOf(order, arm, "") }));
    } catch (found) {
      setForeseen(null);
      setProblem(found);
    }
  };
  useEffect(() => {
    dialog.current.showModal();
    look();
  }, []);

  const send = async (event) => {
    event.preventDefault();
    setIsSending(true);
    setProblem(null);
    try {
      const headers = { "Idempotency-Key": key.current, ...(foreseen && { "If-Match": foreseen.etag }) };
      const done = await call(pathOf(name, order, arm), { method: "POST", body: bodyOf(order, arm, reason.trim()), headers });
      say(done.status === 202 ? done.value.detail : `Done: ${what}.`);
      refresh();
      dialog.current.close();
    } catch (found) {
      setProblem(found);
      // It is not what was shown any more: show what it would do now, and ask again.
      if (found.status === CHANGED_MEANWHILE) await look();
      setIsSending(false);
    }
  };

  return html`<dialog ref=${dialog} onClose=${onClose} aria-labelledby="order-title">
    <article>
      <h2 id="order-title">${what}?</h2>
      <p>${about.about}</p>
      ${problem && html`<${Trouble} problem=${problem} what="this order" />`}
      ${isBlind && html`<p>What it would do can't be said while the store is away. It can be ordered all the same: this gateway obeys at once.</p>`}
      ${foreseen ? html`<${Foreseen} answer=${foreseen.value} />` : !problem && html`<p class="quiet">Asking what it would do …</p>`}
      <form onSubmit=${send}>
        <label for="reason">Reason <small>(kept in the history and the audit)</small></label>
        <input id="reason" value=${reason} maxlength=${REASON_CHARS_MAX} required autocomplete="off" onInput=${(event) => setReason(event.target.value)} />
        <div class="choice">
          <button type="button" class="secondary outline" onClick=${() => dialog.current.close()}>Cancel</button>
          <button type="submit" class=${about.isGrave ? "contrast" : ""} disabled=${!(foreseen || isBlind) || isSending || reason.trim() === ""}>${what}</button>
        </div>
      </form>
    </article>
  </dialog>`;
}

function Foreseen({ answer }) {
  const { before, after, notes } = answer;
  const arms = after.arms.map((arm, number) => ({ ...arm, number, was: before.arms[number]?.state, from: before.shares[arm.name] ?? 0, to: after.shares[arm.name] ?? 0 }));
  const loading = arms.filter((arm) => arm.state === "warming" && arm.was !== "warming").map((arm) => arm.name);
  const isSame = arms.every((arm) => arm.from === arm.to && arm.state === arm.was);
  return html`<section aria-label="What it would do">
    ${before.phase !== after.phase && html`<p>The experiment, now <strong>${before.phase}</strong>, would be <strong>${after.phase}</strong>.</p>`}
    ${isSame
      ? html`<p class="quiet">No arm's traffic or state changes at once.</p>`
      : html`<table class="foreseen">
          <thead><tr><th scope="col">Arm</th><th scope="col" class="n">Traffic now</th><th scope="col" class="n">At once</th><th scope="col">State then</th></tr></thead>
          <tbody>${arms.map((arm) => html`<tr key=${arm.name}>
            <th scope="row"><${Swatch} number=${arm.number} />${arm.name}</th><td class="n"><${Num} of=${`before.shares.${arm.name}`} value=${arm.from} show=${share} /></td><td class="n"><${Num} of=${`after.shares.${arm.name}`} value=${arm.to} show=${share} /></td>
            <td>${arm.state === arm.was ? arm.state : html`<strong>${arm.state}</strong>`}</td>
          </tr>`)}</tbody>
        </table>`}
    ${loading.length > 0 && html`<p>Traffic for ${loading.join(", ")} begins once it is loaded and measured.</p>`}
    ${notes.length === 0 && html`<p class="quiet">Nothing would change.</p>`}
  </section>`;
}
