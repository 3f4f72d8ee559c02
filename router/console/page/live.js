// What keeps the page current: one stream of events for all of it, and answers that are asked for again and again.
import { useEffect, useState } from "./vendor/standalone.module.js";
import { ask } from "./api.js";
import { observable } from "./observable.js";
import { session } from "./session.js";
import { follow } from "./stream.js";

// A page that nobody sees need not be current to the second.
const HIDDEN_S = 30;

// "off" (nobody is signed in), "away" or "live".
export const connection = observable("off");

const listeners = new Set();

export function useStream() {
  const who = session.use();
  const [isSeen, setIsSeen] = useState(!document.hidden);
  useEffect(() => {
    const look = () => setIsSeen(!document.hidden);
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  }, []);
  // A browser has six connections to a port for all its pages together, and a stream keeps one: a page that nobody sees
  // gives it back, or the sixth page, orders included, would wait for ever.
  const key = who.state === "in" && isSeen ? `${who.name}/${who.role}` : "";
  useEffect(() => {
    if (!key) return undefined;
    const ended = new AbortController();
    connection.set("away");
    follow("/admin/v1/events", {
      signal: ended.signal,
      onState: (state) => {
        connection.set(state);
        // What was missed meanwhile is asked for.
        if (state === "live") tell();
      },
      onEvent: tell,
    });
    return () => {
      ended.abort();
      connection.set("off");
    };
  }, [key]);
}

function tell() {
  for (const listener of [...listeners]) listener();
}

// Have everything on the page asked for anew, as after an action.
export const refresh = tell;

// Return { value, problem }: the newest answer of a path, asked for every `everyS` seconds and after each event. What was
// known stays while the gateway is away, and `problem` says that it is. No path: nothing is asked. A `turn` that changes asks
// at once.
export function useAnswer(path, everyS, turn = "") {
  const [found, setFound] = useState({ path: "", value: null, problem: null });
  const who = session.use();
  useEffect(() => {
    if (!path || who.state !== "in") return undefined;
    const ended = new AbortController();
    let timer = 0;
    let isAsking = false;
    let isDue = false;
    async function look() {
      if (isAsking) {
        isDue = true;
        return;
      }
      isAsking = true;
      clearTimeout(timer);
      try {
        const value = await ask(path, { signal: ended.signal });
        setFound({ path, value, problem: null });
      } catch (problem) {
        if (ended.signal.aborted) return;
        setFound((was) => ({ path, value: was.path === path ? was.value : null, problem }));
      }
      if (ended.signal.aborted) return;
      isAsking = false;
      if (isDue) {
        isDue = false;
        look();
      } else {
        timer = setTimeout(look, 1000 * (document.hidden ? HIDDEN_S : everyS));
      }
    }
    const seen = () => document.hidden || look();
    listeners.add(look);
    document.addEventListener("visibilitychange", seen);
    look();
    return () => {
      ended.abort();
      clearTimeout(timer);
      listeners.delete(look);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [path, everyS, turn, who.state, who.name, who.role]);
  return found.path === path ? found : { value: null, problem: null };
}
