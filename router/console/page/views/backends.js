// The model servers: what each replica has loaded, how requests are batched for it, and what it costs.
import { html } from "../vendor/standalone.module.js";
import { useAnswer } from "../live.js";
import { Answered, Empty, sentence } from "../states.js";
import { count, digits, Moment, Num, usd } from "../units.js";

export function Backends() {
  const found = useAnswer("/admin/v1/backends", 1);
  const deployed = useAnswer("/admin/v1/deployments", 2);
  const prices = useAnswer("/admin/v1/prices", 5);
  return html`<h1>Backends</h1>
    <${Answered} found=${found} what="the backends">
      ${({ backends }) =>
        backends.length === 0
          ? html`<${Empty}><p><strong>No backend.</strong></p><p>Model servers are named in <code>turpin.yaml</code> under <code>backends:</code>.</p><//>`
          : backends.map((one) => html`<${Backend} key=${one.name} backend=${one} price=${prices.value?.prices.find((row) => row.backend === one.name)} />`)}
    <//>
    <${Deployments} rows=${deployed.value?.deployments ?? []} />`;
}

const STATES = { running: "busy", failing: "bad", failed: "bad", done: "done" };

function Deployments({ rows }) {
  if (rows.length === 0) return null;
  return html`<h2>Deployments</h2>
    <ol class="history">${rows.map((one) => html`<li key=${`${one.backend} ${one.location}`}>
      <${Moment} at=${one.changed_at} />
      <div>
        <p><strong><code>${one.model}/${one.version}</code></strong> as ${one.arm} of ${one.experiment}, on ${one.backend} <span class="badge" data-kind=${STATES[one.state]}>${one.state}${one.state !== "done" && `: ${one.step}`}</span></p>
        ${(one.error || one.detail) && html`<p class="quiet">${sentence(one.error || one.detail)}</p>`}
      </div>
    </li>`)}</ol>`;
}

function Backend({ backend, price }) {
  const heading = `backend-${backend.name}`;
  return html`<article aria-labelledby=${heading}>
    <header>
      <h2 id=${heading}>${backend.name}</h2>
      <span class="badge" title=${backend.control === "managed" ? "Turpin says what it serves" : "Turpin only looks"}>${backend.control}</span>
    </header>
    <${Facts} backend=${backend} price=${price} />
    ${backend.replicas.length === 0
      ? html`<p class="quiet">No replica is known yet.</p>`
      : backend.replicas.map((replica) => html`<${Replica} key=${replica.address} replica=${replica} backend=${backend} />`)}
  </article>`;
}

function Facts({ backend, price }) {
  const { slots, in_flight, batches, rows } = backend.batching;
  const of = `backends.${backend.name}`;
  return html`<dl class="facts">
    <dt>Price</dt>
    <dd><${Num} of=${`${of}.price`} value=${price?.usd_per_hour} show=${usd} /> an hour and replica${price?.feed && html`, from <code>${price.feed}</code>`}${price?.warning && html` <strong class="bad">${sentence(price.warning)}</strong>`}</dd>
    <dt>Slots</dt>
    <dd><${Num} of=${`${of}.slots`} value=${slots} show=${count} /> ${slots === 1 ? "call" : "calls"} at once, as learned; <${Num} of=${`${of}.in_flight`} value=${in_flight} show=${count} /> under way</dd>
    <dt>Batches</dt>
    <dd><${Num} of=${`${of}.batches`} value=${batches} show=${count} />, of <${Num} of=${`${of}.rows_mean`} value=${batches ? rows / batches : null} show=${(mean) => digits(mean, 3)} /> rows on average, since the gateway began</dd>
  </dl>`;
}

function Replica({ replica, backend }) {
  const versions = Object.entries(replica.models).flatMap(([model, shown]) => shown.versions.map((one) => ({ model, labels: shown.labels, ...one })));
  // Servers are asked for models by name.
  const isAsked = versions.length > 0 || !replica.answers;
  return html`<h3>${replica.address} ${isAsked && html`<span class="badge" data-kind=${replica.answers ? "done" : "bad"}>${replica.answers ? "answers" : "does not answer"}</span>`}
      ${replica.is_reloading && html` <span class="badge" data-kind="wait">reloading</span>`}</h3>
    ${replica.problem && html`<p class="trouble">${sentence(replica.problem)}</p>`}
    ${replica.differs.length > 0 && html`<p class="trouble">It does not serve what it should: ${replica.differs.join("; ")}.</p>`}
    ${versions.length === 0 ? !replica.problem && html`<p class="quiet">No model on it is named in the configuration or an experiment.</p>` : html`<div class="overflow-auto" role="region" aria-label=${`Versions on ${replica.address}`} tabindex="0"><table>
      <thead><tr><th scope="col">Model</th><th scope="col" class="n">Version</th><th scope="col">State</th><th scope="col">Labels</th><th scope="col" class="n">Rows at most</th></tr></thead>
      <tbody>${versions.map((one) => html`<${Version} key=${`${one.model}/${one.version}`} one=${one} backend=${backend} />`)}</tbody>
    </table></div>`}`;
}

// TF Serving's other names say it themselves.
const WORDS = { START: "begins to load", END: "unloaded" };
const KINDS = { AVAILABLE: "done", LOADING: "wait", UNLOADING: "wait", START: "wait" };

function Version({ one, backend }) {
  const labels = Object.entries(one.labels).filter(([, version]) => version === one.version).map(([label]) => label);
  const limit = backend.batching.limits.find((row) => row.model === one.model && row.version === String(one.version));
  return html`<tr>
    <th scope="row">${one.model}</th>
    <td class="n">${one.version}</td>
    <td><span class="badge" data-kind=${KINDS[one.state] ?? "rest"} title=${one.state}>${WORDS[one.state] ?? one.state.toLowerCase()}</span>${one.error && html` <small>${one.error}</small>`}</td>
    <td>${labels.join(", ") || "–"}</td>
    <td class="n"><${Num} of=${`backends.${backend.name}.${one.model}.${one.version}.rows_max`} value=${limit?.rows_max} show=${count} /></td>
  </tr>`;
}
