// When it ends and why: what experimenting on could still find, the evidence against each challenger, and what it waits for.
import { html } from "../vendor/standalone.module.js";
import { experiment } from "../api.js";
import { colourOf } from "../colours.js";
import { useAnswer } from "../live.js";
import { Answered, sentence } from "../states.js";
import { count, digits, duration, Num, seconds, share, usd } from "../units.js";
import { Swatch } from "./shares.js";

const GONE = ["draining", "standby", "retired"];
// What has ended changes by events alone.
const REPORT_S = 30;
const OVER = ["draining", "concluded", "archived"];

export function Decision({ state, spec }) {
  const isOver = OVER.includes(state.phase);
  return html`
    <div class="cards two">
      <article aria-labelledby="remaining"><${Remaining} state=${state} /></article>
      <article aria-labelledby="end">${isOver ? html`<${Ended} state=${state} />` : html`<${Ending} state=${state} spec=${spec} />`}</article>
    </div>
    <${Evidence} state=${state} />
  `;
}

function Remaining({ state }) {
  const { q95, threshold, drained } = state.value_remaining;
  return html`<h3 id="remaining">Value remaining</h3>
    ${q95 === null
      ? html`<p class="quiet">Not known yet.</p>`
      : html`<p>Looking on could still find at most <strong><${Num} of="value_remaining.q95" value=${q95} show=${share} /></strong> of what the leader is worth.</p>
          <${Meter} value=${q95} bar=${threshold} isReached=${drained} colour=${drained ? "var(--done)" : "var(--busy)"} />
          <p class="quiet">${drained ? "Drained: that is below" : "It is drained of its value below"} ${" "}<${Num} of="value_remaining.threshold" value=${threshold} show=${share} />. A Bayesian figure, the 95 % quantile; on it alone nothing is ended.</p>`}
    <${Worth} state=${state} />`;
}

function Worth({ state }) {
  const { worth_usd_day: worth, cost_usd_day: cost } = state.continuing;
  const { frees_usd_day: frees } = state.retiring;
  return html`<dl class="facts">
    <dt>Continuing is worth</dt><dd><${Num} of="continuing.worth_usd_day" value=${worth} show=${usd} /> a day</dd>
    <dt>and costs</dt><dd><${Num} of="continuing.cost_usd_day" value=${cost} show=${usd} /> a day</dd>
    <dt>Retiring the losers frees</dt><dd>${frees ? html`<${Num} of="retiring.frees_usd_day" value=${frees} show=${usd} /> a day` : "capacity, and no money: no machine could be switched off"}</dd>
  </dl>`;
}

// What is claimed is the report's to say: of an arm that serves by a person's word nothing is.
function Ended({ state }) {
  const found = useAnswer(`${experiment(state.name)}/report?format=json`, REPORT_S);
  return html`<h3 id="end">It has ended</h3>
    <${Answered} found=${found} what="the report">
      ${({ why }) => html`
        <p>${sentence(why.reason)}</p>
        ${why.overruled && html`<p>Since then ${state.winner} serves: ${sentence(why.overruled)}</p>`}
        ${why.claim && html`<p class="claim">${sentence(why.claim)} That is all that is claimed of them.</p>`}
      `}
    <//>
    <p class="quiet">What it earned is in the report.</p>`;
}

function Ending({ state, spec }) {
  const { requests } = state.sprint;
  const perDay = state.requests_per_day;
  const left = spec ? seconds(spec.stop.max_duration) - state.age_s : null;
  return html`<h3 id="end">Expected end</h3>
    ${requests !== null && perDay
      ? html`<p>About <strong><${Num} of="expected.end_s" value=${(requests / perDay) * 86_400} show=${duration} /></strong> more: <${Num} of="sprint.requests" value=${requests} show=${(number) => count(Math.ceil(number))} /> requests at <${Num} of="requests_per_day" value=${perDay} show=${count} /> a day would settle it.</p>`
      : html`<p class="quiet">It can't be told yet how many requests will settle it.</p>`}
    ${left !== null && left > 0 && html`<p class="quiet">Undecided, it stops in <${Num} of="expected.latest_s" value=${left} show=${duration} /> at the latest (<code>stop.max_duration</code>).</p>`}
    ${state.not_ready.length > 0
      ? html`<p>It waits for:</p><ul>${state.not_ready.map((words) => html`<li>${sentence(words)}</li>`)}</ul>`
      : html`<p>It waits for nothing but evidence.</p>`}`;
}

function Evidence({ state }) {
  const rivals = state.arms.map((arm, number) => ({ arm, number })).filter(({ arm }) => arm.name !== state.leader);
  const bar = state.evidence_bar_log;
  return html`<h3>Evidence against each challenger${state.leader ? ` of ${state.leader}` : ""}</h3>
    ${bar === null
      ? html`<p class="quiet">None is taken yet.</p>`
      : html`<p class="quiet">A challenger is refuted once the evidence against “it is better by more than the margin of <${Num} of="margin" value=${state.margin} show=${share} />” reaches the bar of <${Num} of="evidence_bar_log" value=${bar} show=${digits} /> (log). It holds however often one looks.</p>
          <ul class="evidence">${rivals.map(({ arm, number }) => html`<li key=${arm.name}><${Against} arm=${arm} number=${number} bar=${bar} /></li>`)}</ul>`}`;
}

function Against({ arm, number, bar }) {
  // Against an arm that left while others went on nothing is taken any more; why it left is in the history.
  const isOut = GONE.includes(arm.state) && !arm.refuted;
  return html`<div class="against">
    <span><${Swatch} number=${number} />${arm.name}</span>
    <${Meter} value=${isOut ? 0 : arm.evidence_log} bar=${bar} isReached=${arm.refuted} colour=${colourOf(number)} />
    ${isOut
      ? html`<span>out before the end</span>`
      : html`<span><${Num} of=${`arms.${arm.name}.evidence_log`} value=${arm.evidence_log} show=${digits} /> <strong>${arm.refuted ? "refuted" : "not refuted"}</strong></span>`}
  </div>`;
}

// A number against the bar it has to reach or to fall below, as a bar with a mark; the words beside it say the same.
function Meter({ value, bar, isReached, colour }) {
  if (value === null || value === undefined || bar === null || bar === undefined) return null;
  // The mark is always at the same place; far beyond it is only that.
  const most = bar * 1.5;
  const part = (number) => `${Math.max(0, Math.min(100, (100 * number) / most))}%`;
  return html`<div class="meter" data-reached=${isReached} aria-hidden="true">
    <span class="fill" style=${{ width: part(value), background: colour }}></span>
    <span class="mark" style=${{ left: part(bar) }}></span>
  </div>`;
}
