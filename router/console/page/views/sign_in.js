// Signing in: the token goes into memory, and into the header of each call.
import { html, useEffect, useRef, useState } from "../vendor/standalone.module.js";
import { ask } from "../api.js";
import { toExperiments } from "../route.js";
import { signIn } from "../session.js";

export function SignIn({ who, isChosen }) {
  const [token, setToken] = useState("");
  const [isAsking, setIsAsking] = useState(false);
  const [file, setFile] = useState("");
  const field = useRef(null);
  useEffect(() => {
    field.current?.focus();
    ask("/admin/v1/version").then((version) => setFile(version.token_file ?? ""), () => {});
  }, []);
  const send = async (event) => {
    event.preventDefault();
    setIsAsking(true);
    const isIn = await signIn(token.trim());
    setIsAsking(false);
    if (!isIn) field.current?.select();
    else if (isChosen) location.hash = toExperiments;
  };
  return html`<section class="narrow">
    <h1>Sign in</h1>
    <form onSubmit=${send}>
      <label for="token">Token of the admin API</label>
      <input id="token" ref=${field} type="password" autocomplete="off" spellcheck=${false} required value=${token}
        aria-describedby="token-about" onInput=${(event) => setToken(event.target.value)} />
      ${who.why && html`<p class="trouble" role="alert">${who.why}</p>`}
      <button type="submit" disabled=${isAsking}>${isAsking ? "Asking the gateway …" : "Sign in"}</button>
      <p class="quiet" id="token-about">
        It stays in this page's memory: reloading forgets it.
        ${file && html` On the gateway's machine it is in <code>${file}</code>.`}
      </p>
    </form>
  </section>`;
}
