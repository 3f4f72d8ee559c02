// What happened to an experiment: every change with who or what caused it, the newest first.
import { html, useEffect, useState } from "../vendor/standalone.module.js";
import { ask, experiment } from "../api.js";
import { useAnswer } from "../live.js";
import { Answered, Trouble } from "../states.js";
import { brief, Moment, Num } from "../units.js";

const PAGE = 50;

export function History({ state }) {
  const path = `${experiment(state.name)}/history?limit=${PAGE}`;
  const found = useAnswer(path, 5);
  return html`<${Answered} found=${found} what="the history">${(page) => html`<${Pages} path=${path} newest=${page} />`}<//>`;
}

function Pages({ path, newest }) {
  const [older, setOlder] = useState({ notes: [], next: null, problem: null });
  // More came at the top: what was fetched below no longer joins on, and is fetched again when asked for.
  const first = newest.history.length ? newest.history[0].now : 0;
  useEffect(() => setOlder({ notes: [], next: null, problem: null }), [path, first]);
  const next = older.notes.length || older.problem ? older.next : newest.next;
  const more = async () => {
    try {
      const page = await ask(`${path}&cursor=${encodeURIComponent(next)}`);
      setOlder((was) => ({ notes: [...page.history, ...was.notes], next: page.next ?? null, problem: null }));
    } catch (problem) {
      setOlder((was) => ({ ...was, next, problem }));
    }
  };
  const notes = [...older.notes, ...newest.history].reverse();
  if (notes.length === 0) return html`<p class="empty">Nothing has happened yet.</p>`;
  return html`
    <ol class="history">${notes.map((note, place) => html`<li key=${`${note.now} ${note.what} ${note.after}`}><${Note} note=${note} of=${`history.${place}.numbers`} /></li>`)}</ol>
    ${older.problem && html`<${Trouble} problem=${older.problem} what="older entries" />`}
    ${next && html`<button type="button" class="secondary outline" onClick=${more}>Older</button>`}
  `;
}

function Note({ note, of }) {
  const numbers = Object.entries(note.numbers ?? {});
  return html`
    <${Moment} at=${note.now} />
    <div>
      <p><strong>${note.what}</strong> ${note.before && html`${note.before} → `}${note.after || "–"}</p>
      ${note.why && html`<p class="why">${note.why}</p>`}
      ${numbers.length > 0 && html`<p class="quiet"><small>${numbers.map(([name, number], place) => html`${place > 0 && " · "}${name.replaceAll("_", " ")} ${typeof number === "number" ? html`<${Num} of=${`${of}.${name}`} value=${number} show=${brief} />` : number}`)}</small></p>`}
    </div>
  `;
}
