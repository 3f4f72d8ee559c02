"""The guardrails of an experiment: which arms are sick at this refresh, and since when their calls are counted.

Three ways to fall ill: too many calls fail or are slow (evidence, see `bandits.guardrails`), a gateway can't reach the
arm at all (calls in a row), or the arm has cost more within a day than it may (a sum, no matter of chance).
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from bandits.experiment import receives
from bandits.guardrails import Guard, guarded
from bandits.life import ArmFailed, Life
from router.config.experiment import Experiment
from router.control.dossier import Dossier
from router.control.tally import Counted
from router.ejections import IN_A_ROW
from router.heartbeat import ExperimentBeat

# p99: so many calls may take longer.
_SLOW_SHARE_MAX: Final = 0.01
_DAY_S: Final = 86_400.0
# Workers count by a new bound within 250 ms, and flush what they counted by the old one within as much again; 2 s is
# four times that.
_SETTLE_S: Final = 2.0
_COUNTED: Final = ("calls", "failed_calls", "slow_calls")
_EVENTS: Final = {"error_ratio": "failed_calls", "backend_p99_ms": "slow_calls"}


def call_max_s(spec: Experiment) -> float | None:
    """Return the time beyond which workers count a call as slow; None without a guardrail on it."""
    return min((one.max * 1e-3 for one in spec.guardrails if one.metric == "backend_p99_ms"), default=None)


def bounded(dossier: Dossier, now: float) -> Dossier:
    """Note when the bound on slow calls changed: those counted by the old one say nothing about the new one."""
    bound_s = call_max_s(dossier.spec)
    if bound_s == dossier.document.slow_beyond_s:
        return dossier
    return dossier.with_changes(slow_beyond_s=bound_s, slow_since=now)


def sick(
    dossier: Dossier, life: Life, counted: Counted, beats: Sequence[ExperimentBeat], now: float
) -> tuple[ArmFailed, ...]:
    """Return what to tell the life of arms that are sick now; of an arm the first reason only. `now` in unix s."""
    found: dict[int, ArmFailed] = {}
    for failed in (
        *_dead(life, beats, now),
        *_broke(dossier, life, counted, now),
        *_evident(dossier, life, counted, now),
    ):
        found.setdefault(failed.arm, failed)
    return tuple(found.values())


def counted_from(dossier: Dossier, life: Life, counted: Counted, now: float) -> dict[str, dict[str, int]]:
    """Return per arm the counts it had when it last was in quarantine: what a sick arm did is not held against it when
    it is well again. With a new bound on slow calls, counting begins anew for all.
    """
    if not dossier.spec.guardrails:
        return {}
    totals = counted.totals(_COUNTED)
    is_new = _is_settling(dossier, now)
    resting = {arm.name: totals[place] for place, arm in enumerate(life.arms) if is_new or arm.state == "quarantined"}
    return dossier.document.guarded_from | resting


def _dead(life: Life, beats: Sequence[ExperimentBeat], now: float) -> list[ArmFailed]:
    """Return the arms that a gateway has not reached so many times in a row: no evidence need be collected."""
    found = []
    for place, arm in enumerate(life.arms):
        in_a_row = max((beat.arms[place].unreached_in_a_row for beat in beats), default=0)
        if arm.state == "eligible" and in_a_row >= IN_A_ROW:
            why = f"the backend was not reached {in_a_row} times in a row"
            found.append(ArmFailed(now, place, why, {"unreached_in_a_row": float(in_a_row)}))
    return found


def _broke(dossier: Dossier, life: Life, counted: Counted, now: float) -> list[ArmFailed]:
    """Return the arms that have cost more within the last day than they may; one that is to be tried is not ready."""
    bounds = [one.max for one in dossier.spec.guardrails if one.metric == "cost_usd_per_day"]
    found = []
    for place, arm in enumerate(life.arms if bounds else ()):
        spent_usd = _spent_usd(dossier, counted, place, now)
        if spent_usd > min(bounds) and (arm.state == "eligible" or arm.is_trying):
            why = f"cost_usd_per_day of arm {arm.name}: ${spent_usd:.4g} in the last 24 h, ${min(bounds):.4g} may be"
            found.append(ArmFailed(now, place, why, {"spent_usd": spent_usd, "max_usd": min(bounds)}))
    return found


def _spent_usd(dossier: Dossier, counted: Counted, arm: int, now: float) -> float:
    """Return what an arm was billed in blocks begun within the last day, and in the open one."""
    starts = dossier.document.block_starts
    recent = [block for block, start in enumerate(starts, 1) if start >= now - _DAY_S or block == len(starts)]
    rows = np.isin(counted.blocks, recent)
    return float(counted.of("cost_pico_usd")[rows, arm].sum(dtype=np.float64)) * 1e-12


def _evident(dossier: Dossier, life: Life, counted: Counted, now: float) -> list[ArmFailed]:
    """Return the arms of whose calls too large a share fails or is slow, where chance is no excuse."""
    found = []
    live = receives(life)
    for place, guard in _guards(dossier, life, counted, now):
        alarm = guarded(guard)
        if alarm.is_ringing and live[place] and life.arms[place].state == "eligible":
            numbers = {
                "events": float(guard.events),
                "calls": float(guard.trials),
                "share_max": guard.share_max,
                "evidence_log": alarm.log_e,
                "evidence_bar_log": alarm.bar_log,
            }
            found.append(ArmFailed(now, place, alarm.words, numbers))
    return found


def _is_settling(dossier: Dossier, now: float) -> bool:
    """Whether some workers may still count slow calls by an earlier bound."""
    document = dossier.document
    return document.slow_beyond_s is not None and now - document.slow_since < _SETTLE_S


def _guards(dossier: Dossier, life: Life, counted: Counted, now: float) -> list[tuple[int, Guard]]:
    if not dossier.spec.guardrails:
        return []
    totals = counted.totals(_COUNTED)
    found = []
    for place, arm in enumerate(life.arms):
        count = _since(totals[place], dossier.document.guarded_from.get(arm.name, {}))
        for one in dossier.spec.guardrails:
            if one.metric == "backend_p99_ms" and _is_settling(dossier, now):
                continue
            if one.metric in _EVENTS:
                share_max = one.max if one.metric == "error_ratio" else _SLOW_SHARE_MAX
                events = min(count[_EVENTS[one.metric]], count["calls"])
                found.append((place, Guard(one.metric, arm.name, events, count["calls"], share_max)))
    return found


def _since(total: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {name: max(0, total.get(name, 0) - before.get(name, 0)) for name in _COUNTED}
