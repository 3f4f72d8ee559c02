// Calls of the admin API: JSON in and out, each with a deadline, and what goes wrong as a Problem.
import { authorization, signOut } from "./session.js";

// Forecasts of large experiments take a second or two.
const DEADLINE_MS = 10_000;

export class Problem extends Error {
  constructor(status, title, detail = "", errors = []) {
    super(detail ? `${title}: ${detail}` : title);
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.errors = errors;
  }
}

export async function ask(path, options = {}) {
  return (await call(path, options)).value;
}

// Return { value, etag, status }; throws a Problem, whose status is 0 when there was no answer at all.
// `isTrial`: a refused token is only being tried.
export async function call(path, options = {}) {
  const { method = "GET", body, headers = {}, signal, accept = "application/json", isTrial = false } = options;
  const deadline = AbortSignal.timeout(DEADLINE_MS);
  const content = body === undefined ? {} : { "Content-Type": "application/json" };
  let response, text;
  try {
    response = await fetch(path, {
      method,
      body: body === undefined ? undefined : JSON.stringify(body),
      headers: { Accept: accept, ...content, ...authorization(), ...headers },
      credentials: "omit",
      cache: "no-store",
      redirect: "error",
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
    });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, deadline.aborted ? "The gateway took too long to answer" : "The gateway does not answer");
  }
  const found = read(response, text);
  if (response.ok) return { value: found, etag: response.headers.get("ETag"), status: response.status };
  if (response.status === 401 && !isTrial) signOut("You were signed out: the gateway does not take this token any more.");
  throw new Problem(response.status, found?.title ?? `Answer ${response.status}`, found?.detail, found?.errors);
}

function read(response, text) {
  if (!(response.headers.get("Content-Type") ?? "").includes("json")) return text;
  try {
    return JSON.parse(text);
  } catch {
    throw new Problem(response.status, "The answer can't be read");
  }
}

export const experiments = "/admin/v1/experiments";
export const experiment = (name) => `${experiments}/${encodeURIComponent(name)}`;
