// All experiments: where each stands, where its traffic goes, and what it has earned against control.
import { html } from "../vendor/standalone.module.js";
import { experiments } from "../api.js";
import { useAnswer } from "../live.js";
import { toExperiment } from "../route.js";
import { Answered, Empty } from "../states.js";
import { Num } from "../units.js";
import { Phase } from "./phase.js";
import { Earned } from "./earned.js";
import { Shares } from "./shares.js";

export function Experiments() {
  const found = useAnswer(experiments, 1);
  return html`<h1>Experiments</h1>
    <${Answered} found=${found} what="the experiments">
      ${({ experiments: rows }) => (rows.length === 0 ? html`<${None} />` : html`<ul class="cards">${rows.map((row) => html`<li key=${row.name}><${Card} row=${row} /></li>`)}</ul>`)}
    <//>`;
}

function None() {
  return html`<${Empty}>
    <p><strong>No experiment yet.</strong></p>
    <p>Put one into <code>turpin.yaml</code> under <code>experiments:</code>, or create one with <code>turpin experiments apply FILE</code>. Until then every request passes through.</p>
  <//>`;
}

function Card({ row }) {
  const heading = `experiment-${row.name}`;
  return html`<article aria-labelledby=${heading}>
    <header>
      <h2 id=${heading}><a href=${toExperiment(row.name)}>${row.name}</a></h2>
      <${Phase} phase=${row.phase} isBypassed=${row.bypassed} />
      ${row.alarms > 0 && html`<span class="badge" data-kind="alarm"><${Num} of=${`${row.name}.alarms`} value=${row.alarms} /> ${row.alarms === 1 ? "alarm" : "alarms"}</span>`}
    </header>
    <p>${standing(row)}</p>
    <${Shares} shares=${row.shares} of=${`${row.name}.shares`} />
    <${Earned} money=${row.money} control=${row.control} of=${`${row.name}.money`} />
  </article>`;
}

function standing(row) {
  const { winner, control, leader, outcome } = row;
  if (row.bypassed) return `Bypassed: all traffic goes to ${winner ?? control}.`;
  if (outcome === "undecided") return `Ended undecided; ${control} is control.`;
  if (winner === control) return `${control}, which was control, stays.`;
  if (winner) return `${winner} serves in the place of ${control}.`;
  if (row.phase === "draft") return `Not started; ${control} serves.`;
  if (row.phase === "paused") return `Paused; ${control} serves.`;
  if (leader && leader !== control) return `${leader} leads; control is ${control}.`;
  return leader ? `${leader}, which is control, leads.` : `No arm leads yet; control is ${control}.`;
}
