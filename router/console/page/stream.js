// The gateway's events over fetch, for an EventSource can't carry a token: parsed, and taken up again wherever they broke off.
import { authorization } from "./session.js";

// A comment comes every 15 s of silence; what says nothing for longer is gone.
const SILENCE_MS = 40_000;
const PAUSES_MS = [500, 1_000, 2_000, 4_000];
// All streams of a gateway are taken: somebody has to leave first.
const FULL_PAUSE_MS = 15_000;

// Call `onEvent({ kind, data })` for each event and `onState("live" | "away")` as it comes and goes, until `signal` is aborted.
export async function follow(path, { onEvent, onState, signal }) {
  let last = null;
  let failures = 0;
  while (!signal.aborted) {
    let pause = PAUSES_MS[Math.min(failures, PAUSES_MS.length - 1)];
    try {
      const response = await open(path, last, signal);
      if (response.status === 429) pause = FULL_PAUSE_MS;
      if (!response.ok) throw new Error(`answer ${response.status}`);
      failures = 0;
      onState("live");
      for await (const event of events(response.body, signal)) {
        if (event.id) last = event.id;
        if (event.kind) onEvent(event);
      }
    } catch {
      // It comes again below, whatever the reason.
    }
    if (signal.aborted) return;
    failures += 1;
    onState("away");
    await rest(pause, signal);
  }
}

function open(path, last, signal) {
  const place = last === null ? {} : { "Last-Event-ID": last };
  return fetch(path, {
    headers: { Accept: "text/event-stream", ...authorization(), ...place },
    credentials: "omit",
    cache: "no-store",
    signal,
  });
}

async function* events(body, signal) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    while (true) {
      const { value, done } = await within(reader.read(), SILENCE_MS);
      if (done || signal.aborted) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) yield parsed(block);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parsed(block) {
  const event = { id: "", kind: "", data: null };
  for (const line of block.split("\n")) {
    const [, field, value] = /^(\w*):? ?(.*)$/.exec(line) ?? [];
    if (field === "id") event.id = value;
    if (field === "event") event.kind = value;
    if (field === "data") event.data = JSON.parse(value);
  }
  return event;
}

function within(promise, ms) {
  let timer;
  const late = new Promise((_, refuse) => {
    timer = setTimeout(() => refuse(new Error("silent")), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function rest(ms, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), done()), { once: true });
  });
}
