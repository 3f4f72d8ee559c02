"""What an experiment's report says, as plain values: what happened, what it earned, and why it stopped."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

# Two-sided 95 % of a normal distribution.
_Z: Final = 1.959964
_ARM: Final = (
    *("name", "state", "reason", "decisions", "rewards", "reward_sum", "rate", "prediction_cost_usd"),
    *("value_usd", "value_usd_low", "value_usd_high", "best_probability", "refuted"),
)


def facts(
    state: Mapping[str, Any],
    spec: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    blocks: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the report: from the experiment's state, specification and history (the oldest first), and its `blocks`,
    each {at, decisions by arm}. Money in dollars; sums are over the epoch; what is not known is null."""
    ended = _last(history, ("draining", "concluded"))
    return {
        "name": state["name"],
        "model": state["model"],
        "phase": state["phase"],
        "outcome": state["outcome"],
        "winner": state["winner"],
        "control": state["control"],
        "epoch": state["epoch"],
        "objective": {"kind": state["objective"], "value_usd": spec["objective"]["value_usd"]},
        "started_at": _at(_last(history, ("running",), before=("warmup",))),
        "ended_at": _at(ended) if state["phase"] in ("draining", "concluded", "archived") else None,
        "why": _why(state, spec, history, ended),
        "money": money(state["arms"], state["control"]),
        "continuing": state["continuing"],
        "retiring": state["retiring"],
        "arms": [{name: arm[name] for name in _ARM} for arm in state["arms"]],
        "alarms": [alarm["words"] for alarm in state["alarms"]],
        # A leader of an earlier version says nothing of copies.
        "shadow": list(state.get("shadow", ())),
        "blocks": list(blocks),
        "history": list(history),
    }


def money(arms: Sequence[Mapping[str, Any]], control: str) -> dict[str, Any]:
    """Return what the arms' requests earned more than control would have with them, by the arms' estimated values.

    `difference_usd` is Σ requests x (the arm's value - control's), with its 95 % interval: the arms' own intervals, taken
    for independent. Null where a value that it needs is not known.
    """
    requests = sum(arm["decisions"] for arm in arms)
    others = [arm for arm in arms if arm["name"] != control and arm["decisions"]]
    own = next(arm for arm in arms if arm["name"] == control)
    unknown = {"requests": requests, "earned_usd": None, "always_control_usd": None, "difference_usd": None}
    unknown |= {"difference_usd_low": None, "difference_usd_high": None}
    if any(arm[key] is None for arm in (*others, own) for key in ("value_usd", "value_usd_low", "value_usd_high")):
        return unknown
    moved = sum(arm["decisions"] for arm in others)
    difference = math.fsum(arm["decisions"] * (arm["value_usd"] - own["value_usd"]) for arm in others)
    half = math.sqrt(math.fsum((arm["decisions"] * _half(arm)) ** 2 for arm in others) + (moved * _half(own)) ** 2)
    baseline = requests * own["value_usd"]
    return {
        "requests": requests,
        "earned_usd": baseline + difference,
        "always_control_usd": baseline,
        "difference_usd": difference,
        "difference_usd_low": difference - half,
        "difference_usd_high": difference + half,
    }


def _half(arm: Mapping[str, Any]) -> float:
    """Return half the width of a 95 % interval of the arm's value."""
    return float(arm["value_usd_high"] - arm["value_usd_low"]) / 2.0


def _why(
    state: Mapping[str, Any],
    spec: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    ended: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return why it stopped, or what it waits for; the claim is that of the confidence sequence, and no more."""
    level = 1.0 - spec["stop"]["alpha"]
    numbers: Mapping[str, Any] = (ended or {}).get("numbers") or {}
    gap, margin = numbers.get("certified_gap"), numbers.get("margin")
    remaining, threshold = numbers.get("value_remaining_q95"), numbers.get("threshold")
    is_over = state["phase"] in ("draining", "concluded", "archived")
    claim = None
    overruled = _overruled(history, ended)
    if is_over and state["winner"] is not None and margin is not None and not overruled:
        better = margin if gap is None else gap
        claim = f"no live challenger is more than {better * 100:.2f} % better, {level * 100:.3g} %"
    return {
        "reason": (ended or {}).get("why") if is_over else state["reason"],
        "claim": claim,
        "overruled": overruled,
        "level": level,
        "certified_gap": gap,
        "margin": margin,
        "value_remaining_q95": remaining if is_over else state["value_remaining"]["q95"],
        "threshold": threshold if is_over else state["value_remaining"]["threshold"],
        "not_ready": [] if is_over else state["not_ready"],
    }


def _overruled(history: Sequence[Mapping[str, Any]], ended: Mapping[str, Any] | None) -> str | None:
    """Return why another arm than the one that won serves now, by a person's word; None when it is not so."""
    if ended is None:
        return None
    changed = [note for note in history if note.get("what") == "winner" and note["now"] >= ended["now"]]
    return str(changed[-1].get("why")) if changed else None


def _last(
    history: Sequence[Mapping[str, Any]], after: Sequence[str], before: Sequence[str] | None = None
) -> Mapping[str, Any] | None:
    """Return the first of the last notes that brought the phase to one of these: draining, then concluded, is one end."""
    found: Mapping[str, Any] | None = None
    for note in history:
        if note.get("what") != "phase" or note.get("after") not in after:
            continue
        if before is not None and note.get("before") not in before:
            continue
        if found is None or note.get("before") not in after:
            found = note
    return found


def _at(note: Mapping[str, Any] | None) -> float | None:
    return None if note is None else note.get("now")
