// Who looks. The token is in this module's memory and nowhere else: a reload forgets it.
import { ask } from "./api.js";
import { observable } from "./observable.js";

let token = "";

// state: "unknown" until the gateway has said who we are, "out", "in"; `why` is what went wrong last.
export const session = observable({ state: "unknown", name: "", role: "", why: "" });

const RANKS = ["viewer", "operator", "admin"];

export const may = (who, role) => who.state === "in" && RANKS.indexOf(who.role) >= RANKS.indexOf(role);

export const authorization = () => (token ? { Authorization: `Bearer ${token}` } : {});

// Ask who we are, with another token if one is given. Where reading is open nobody has to sign in.
export async function signIn(offered = "") {
  const before = token;
  token = offered;
  try {
    const who = await ask("/admin/v1/whoami", { isTrial: true });
    session.set({ state: "in", name: who.name, role: who.role, why: "" });
    return true;
  } catch (problem) {
    token = offered && session.get().state === "in" ? before : "";
    const why = problem.status === 401 ? (offered ? "The gateway does not know this token." : "") : problem.message;
    session.set({ ...session.get(), state: session.get().state === "in" ? "in" : "out", why });
    return false;
  }
}

export function signOut(why = "") {
  token = "";
  session.set({ state: "out", name: "", role: "", why });
}
