// The console: its frame, who is signed in, and which view is shown.
import { html, render, useEffect, useRef } from "./vendor/standalone.module.js";
import { connection, useStream } from "./live.js";
import { toBackends, toExperiments, toSignIn, usePlace } from "./route.js";
import { session, signIn, signOut } from "./session.js";
import { Backends } from "./views/backends.js";
import { Experiment } from "./views/experiment.js";
import { Experiments } from "./views/experiments.js";
import { SignIn } from "./views/sign_in.js";
import { Said } from "./said.js";

const TITLES = { experiments: "Experiments", backends: "Backends", "sign-in": "Sign in" };

function App() {
  const who = session.use();
  const place = usePlace();
  useStream();
  const title = place.view === "experiment" ? place.name : TITLES[place.view];
  useEffect(() => {
    document.title = `${title} · Turpin`;
  }, [title]);
  const main = useRef(null);
  const isFirst = useRef(true);
  useEffect(() => {
    // Whoever follows a link with the keyboard goes on from the new view, not from the top of the page.
    if (!isFirst.current) main.current?.focus();
    isFirst.current = false;
  }, [place.view, place.name]);
  return html`
    <a class="skip" href="#main" onClick=${(event) => (event.preventDefault(), main.current?.focus())}>Skip to the content</a>
    <${Bar} who=${who} place=${place} />
    <main class="container" id="main" tabindex="-1" ref=${main}><${View} who=${who} place=${place} /></main>
    <${Said} />
  `;
}

function View({ who, place }) {
  if (who.state === "unknown") return html`<p class="quiet">Asking the gateway who you are …</p>`;
  if (who.state === "out" || place.view === "sign-in") return html`<${SignIn} who=${who} isChosen=${place.view === "sign-in"} />`;
  if (place.view === "backends") return html`<${Backends} />`;
  if (place.view === "experiment") return html`<${Experiment} key=${place.name} name=${place.name} tab=${place.tab} who=${who} />`;
  return html`<${Experiments} />`;
}

function Bar({ who, place }) {
  const here = (view) => (place.view.startsWith(view) ? "page" : undefined);
  return html`<header class="bar container">
    <a class="brand" href=${toExperiments}>Turpin</a>
    ${who.state === "in" &&
    html`<nav aria-label="Console">
      <ul>
        <li><a href=${toExperiments} aria-current=${here("experiment")}>Experiments</a></li>
        <li><a href=${toBackends} aria-current=${here("backends")}>Backends</a></li>
      </ul>
    </nav>`}
    <div class="who">${who.state === "in" && html`<${Connection} /><${Caller} who=${who} />`}</div>
  </header>`;
}

const STATES = {
  live: { word: "Live", about: "The page follows what happens." },
  away: { word: "Connecting …", about: "The stream of events is away; numbers are asked for meanwhile." },
  off: { word: "", about: "" },
};

function Connection() {
  const state = connection.use();
  const { word, about } = STATES[state];
  return html`<span class="connection" data-state=${state} role="status" title=${about}>${word}</span>`;
}

function Caller({ who }) {
  if (!who.name) return html`<span class="quiet">read only</span> <a href=${toSignIn}>Sign in</a>`;
  const leave = async () => {
    signOut();
    await signIn();
  };
  return html`<span class="quiet">${who.name}, ${who.role}</span>
    <button class="plain" type="button" onClick=${leave}>Sign out</button>`;
}

render(html`<${App} />`, document.getElementById("console"));
signIn();
