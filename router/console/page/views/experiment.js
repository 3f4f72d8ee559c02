// One experiment: what it is doing and why, the orders that can be given to it, and a screen for each question.
import { html } from "../vendor/standalone.module.js";
import { experiment } from "../api.js";
import { useAnswer } from "../live.js";
import { TABS, toExperiment, toExperiments } from "../route.js";
import { Answered, sentence } from "../states.js";
import { Num } from "../units.js";
import { Copies } from "./copies.js";
import { Cost } from "./cost.js";
import { Decision } from "./decision.js";
import { Earned } from "./earned.js";
import { headline } from "./headline.js";
import { History } from "./history.js";
import { Orders, useOrders } from "./orders.js";
import { Phase } from "./phase.js";
import { Report } from "./report.js";
import { Segments } from "./segments.js";
import { Traffic } from "./traffic.js";
import { Value } from "./value.js";

const VIEWS = { traffic: Traffic, segments: Segments, value: Value, decision: Decision, cost: Cost, copies: Copies, history: History, report: Report };
const TITLES = { traffic: "Traffic", segments: "Segments", value: "Value", decision: "Decision", cost: "Cost", copies: "Copies", history: "History", report: "Report" };
// Most experiments have neither: their screens are only offered where there is something on them.
const SELDOM = { segments: (state) => state.segments?.length, copies: (state) => state.shadow?.length };

export function Experiment({ name, tab, who }) {
  const found = useAnswer(`${experiment(name)}/state`, 1);
  const specified = useAnswer(experiment(name), 10);
  if (found.problem?.status === 404 && specified.value) return html`<${Unpublished} name=${name} />`;
  return html`
    <p class="back"><a href=${toExperiments}>All experiments</a></p>
    <${Answered} found=${found} what=${`experiment ${name}`}>
      ${(state) => html`<${Shown} state=${state} spec=${specified.value?.spec} tab=${tab} who=${who} />`}
    <//>
  `;
}

function Shown({ state, spec, tab, who }) {
  const orders = useOrders(state, who);
  return html`
    <${Head} state=${state} orders=${orders} />
    <${Tabs} state=${state} tab=${tab} />
    <section aria-labelledby="screen">
      <h2 id="screen" class="hidden">${TITLES[tab]}</h2>
      <${VIEWS[tab]} state=${state} spec=${spec} orders=${orders} />
    </section>
  `;
}

// A draft has no numbers: nothing was published of it yet.
function Unpublished({ name }) {
  return html`<h1>${name}</h1><p class="quiet">The leader has published nothing of this experiment yet.</p>`;
}

function Head({ state, orders }) {
  return html`<div class="head">
    <h1>${state.name} <${Phase} phase=${state.phase} isBypassed=${state.bypassed} /></h1>
    <p class="headline">${headline(state)}</p>
    <${Earned} money=${state.money} control=${state.control} of="money" />
    <${Orders} name=${state.name} orders=${orders} />
    <${Alarms} alarms=${state.alarms} />
  </div>`;
}

function Alarms({ alarms }) {
  if (alarms.length === 0) return null;
  return html`<aside class="trouble" aria-label="Alarms">
    <p><strong>${alarms.length === 1 ? "An alarm rings" : html`<${Num} of="alarms" value=${alarms.length} /> alarms ring`}: nothing is ended meanwhile.</strong></p>
    <ul>${alarms.map((alarm) => html`<li>${sentence(alarm.words)}</li>`)}</ul>
  </aside>`;
}

function Tabs({ state, tab }) {
  const offered = TABS.filter((one) => one === tab || !(one in SELDOM) || SELDOM[one](state));
  return html`<nav class="tabs" aria-label=${`Experiment ${state.name}`}>
    <ul>${offered.map((one) => html`<li key=${one}><a href=${toExperiment(state.name, one)} aria-current=${one === tab ? "page" : undefined}>${TITLES[one]}</a></li>`)}</ul>
  </nav>`;
}
