// Where in the console we are: the part of the address after #, so that links, the back button and bookmarks work.
import { useEffect, useState } from "./vendor/standalone.module.js";

export const TABS = ["traffic", "segments", "value", "decision", "cost", "copies", "history", "report"];

export const toExperiments = "#/";
export const toBackends = "#/backends";
export const toSignIn = "#/sign-in";
export const toExperiment = (name, tab = "traffic") => `#/experiments/${encodeURIComponent(name)}/${tab}`;

export function placeOf(hash) {
  const [first = "", ...rest] = hash.replace(/^#\/?/, "").split("/").map(decoded);
  if (first === "experiments" && rest[0]) return { view: "experiment", name: rest[0], tab: TABS.includes(rest[1]) ? rest[1] : TABS[0] };
  if (first === "backends" || first === "sign-in") return { view: first };
  return { view: "experiments" };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function usePlace() {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const moved = () => setHash(location.hash);
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  return placeOf(hash);
}
