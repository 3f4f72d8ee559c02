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
      <h3>Why it stopped</h3><${Why} why=${report.why} hasEnded=${report.ended_at !== null} />
      <h3>What it earned</h3><${Earnings} money=${report.money} control=${report.control} />
      <h3>Arms</h3><${Arms} report=${report} />
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

function Why({ why, hasEnded }) {
  const left = why.value_remaining_q95;
  return html`
    <p>${hasEnded ? sentence(why.reason) : "It has not."}</p>
    ${why.not_ready.length > 0 && html`<ul>${why.not_ready.map((words) => html`<li>It waits for: ${words}</li>`)}</ul>`}
    ${why.overruled && html`<p>Since then: ${sentence(why.overruled)}</p>`}
    ${why.claim && html`<p class="claim">${sentence(why.claim)} By a confidence sequence, which holds however often one looks. That is all that is claimed of the others.</p>`}
    ${left !== null && html`<p>Value remaining (95 % quantile, a Bayesian figure): <${Num} value=${left} show=${share} /> of the leader's; drained below <${Num} value=${why.threshold} show=${share} />.</p>`}
  `;
}

function Earnings({ money, control }) {
  if (money.difference_usd === null) return html`<p>${count(money.requests)} requests. What they earned can't be told: the value of an arm is not known.</p>`;
  return html`<p><${Num} value=${money.requests} /> requests earned <strong><${Num} value=${money.earned_usd} show=${usd} /></strong>; ${control} alone would have earned <${Num} value=${money.always_control_usd} show=${usd} /> with them.
    A difference of <strong><${Interval} of="report.money.difference_usd" value=${money.difference_usd} low=${money.difference_usd_low} high=${money.difference_usd_high} show=${usd} /></strong>, by the arms' estimated values at the common batch size and the prices decided by.</p>`;
}

function Arms({ report }) {
  const total = report.arms.reduce((sum, arm) => sum + arm.decisions, 0) || 1;
  return html`<div class="overflow-auto" role="region" aria-label="Arms in the report" tabindex="0"><table>
    <thead><tr><th scope="col">Arm</th><th scope="col">State</th><th scope="col" class="n">Requests</th><th scope="col" class="n">Share</th><th scope="col" class="n">Reward, mean</th><th scope="col" class="n">Value, $ per million</th></tr></thead>
    <tbody>${report.arms.map((arm, number) => html`<tr key=${arm.name}>
      <th scope="row"><${Swatch} number=${number} />${arm.name}</th>
      <td>${arm.state}</td>
      <td class="n">${count(arm.decisions)}</td>
      <td class="n">${share(arm.decisions / total)}</td>
      <td class="n"><${Num} value=${arm.rate} show=${digits} /></td>
      <td class="n"><${Interval} value=${arm.value_usd} low=${arm.value_usd_low} high=${arm.value_usd_high} show=${usdPerMillion} /></td>
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
