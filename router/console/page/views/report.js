// The report: what was found, why it stopped, what it earned; and the same as Markdown, for a ticket.
import { html, useState } from "../vendor/standalone.module.js";
import { call, experiment } from "../api.js";
import { useAnswer } from "../live.js";
import { Answered, sentence, Trouble } from "../states.js";
import { count, digits, Interval, Moment, Num, share, usd, usdPerMillion } from "../units.js";
import { Swatch } from "./shares.js";

export function Report({ state }) {
  const path = `${experiment(state.name)}/report`;
  const found = useAnswer(`${path}?format=json`, 5);
  return html`<${Answered} found=${found} what="the report">
    ${(report) => html`<div class="report">
      <p class="finding">${finding(report)}</p>
      <p class="quiet">Model ${report.model}, epoch <code>${report.epoch}</code>, learning since <${Moment} at=${report.started_at} />${report.ended_at !== null && html`, ended <${Moment} at=${report.ended_at} />`}.</p>
      <h3>Why it stopped</h3><${Why} why=${report.why} hasEnded=${report.ended_at !== null} state=${state} />
      <h3>What it earned</h3><${Earnings} money=${state.money} control=${state.control} />
      <h3>Arms</h3><${Arms} arms=${state.arms} />
      <${Download} path=${path} name=${report.name} />
    </div>`}
  <//>`;
}

function finding(report) {
  const { winner, control, outcome, why } = report;
  if (why.overruled && winner) return `${winner} serves, by a person's word.`;
  if (outcome === "replaced") return `${winner} serves in the place of ${control}.`;
  if (outcome === "kept") return `${control} stays.`;
  if (outcome === "undecided") return "Undecided: no arm was shown to be better, and nothing was unloaded.";
  return `Nothing is decided yet: the experiment is ${report.phase}.`;
}

// Of what goes on the state has the same numbers, and newer ones.
function Why({ why, hasEnded, state }) {
  const of = hasEnded ? { left: "report.why.value_remaining_q95", threshold: "report.why.threshold" } : { left: "value_remaining.q95", threshold: "value_remaining.threshold" };
  const left = hasEnded ? why.value_remaining_q95 : state.value_remaining.q95;
  const waits = hasEnded ? why.not_ready : state.not_ready;
  const threshold = hasEnded ? why.threshold : state.value_remaining.threshold;
  return html`
    <p>${hasEnded ? sentence(why.reason) : "It has not."}</p>
    ${waits.length > 0 && html`<ul>${waits.map((words) => html`<li>It waits for: ${words}</li>`)}</ul>`}
    ${why.overruled && html`<p>Since then: ${sentence(why.overruled)}</p>`}
    ${why.claim && html`<p class="claim">${sentence(why.claim)} By a confidence sequence, which holds however often one looks. That is all that is claimed of the others.</p>`}
    ${left !== null && html`<p>Value remaining (95 % quantile, a Bayesian figure): <${Num} of=${of.left} value=${left} show=${share} /> of the leader's; drained below <${Num} of=${of.threshold} value=${threshold} show=${share} />.</p>`}
  `;
}

function Earnings({ money, control }) {
  if (money.difference_usd === null) return html`<p><${Num} of="money.requests" value=${money.requests} /> requests. What they earned can't be told: the value of an arm is not known.</p>`;
  return html`<p><${Num} of="money.requests" value=${money.requests} /> requests earned <strong><${Num} of="money.earned_usd" value=${money.earned_usd} show=${usd} /></strong>; ${control} alone would have earned <${Num} of="money.always_control_usd" value=${money.always_control_usd} show=${usd} /> with them.
    A difference of <strong><${Interval} of="money.difference_usd" value=${money.difference_usd} low=${money.difference_usd_low} high=${money.difference_usd_high} show=${usd} /></strong>, by the arms' estimated values at the common batch size and the prices decided by.</p>`;
}

function Arms({ arms }) {
  const total = arms.reduce((sum, arm) => sum + arm.decisions, 0) || 1;
  return html`<div class="overflow-auto" role="region" aria-label="Arms in the report" tabindex="0"><table>
    <thead><tr><th scope="col">Arm</th><th scope="col">State</th><th scope="col" class="n">Requests</th><th scope="col" class="n">Share</th><th scope="col" class="n">Reward, mean</th><th scope="col" class="n">Value, $ per million</th></tr></thead>
    <tbody>${arms.map((arm, number) => html`<tr key=${arm.name}>
      <th scope="row"><${Swatch} number=${number} />${arm.name}</th>
      <td>${arm.state}</td>
      <td class="n"><${Num} of=${`arms.${arm.name}.decisions`} value=${arm.decisions} show=${count} /></td>
      <td class="n"><${Num} of=${`arms.${arm.name}.decisions_ratio`} value=${arm.decisions / total} show=${share} /></td>
      <td class="n"><${Num} of=${`arms.${arm.name}.rate`} value=${arm.rate} show=${digits} /></td>
      <td class="n"><${Interval} of=${`arms.${arm.name}.value_usd`} value=${arm.value_usd} low=${arm.value_usd_low} high=${arm.value_usd_high} show=${usdPerMillion} /></td>
    </tr>`)}</tbody>
  </table></div>`;
}

function Download({ path, name }) {
  const [problem, setProblem] = useState(null);
  const save = async () => {
    try {
      // The call needs the token, which a link could not carry.
      const { value } = await call(`${path}?format=markdown`, { accept: "text/markdown" });
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([value], { type: "text/markdown" }));
      link.download = `${name}-report.md`;
      link.click();
      URL.revokeObjectURL(link.href);
      setProblem(null);
    } catch (found) {
      setProblem(found);
    }
  };
  return html`<button type="button" class="secondary outline" onClick=${save}>Download as Markdown</button>
    ${problem && html`<${Trouble} problem=${problem} what="the report" />`}`;
}
