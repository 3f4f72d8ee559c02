"""The numbers behind a decision, as `/admin/v1/experiments/{name}/state` shows them (design §14)."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from bandits.experiment import age_s
from bandits.question import Assessment
from bandits.sums import STEPS
from router.dossier import Dossier
from router.seen import Seen, deciding_cost_usd
from router.snapshot import PARTS

_DAY_S: Final = 86_400.0


def state_view(
    dossier: Dossier, seen: Seen, assessment: Assessment | None, parts: Sequence[int], now: float
) -> dict[str, Any]:
    """Return the state as plain JSON values; what only an assessment knows is null before and after learning.

    Sums are over the epoch; `rewards` counts every unique reward, learned or not; money in dollars, `value_usd…` per
    prediction at the reference size and the current price.
    """
    life = dossier.life
    totals = _totals(dossier, seen)
    leader = life.winner if life.winner is not None else life.leader
    return {
        "name": dossier.name,
        "model": dossier.spec.model,
        "phase": life.phase,
        "reason": life.reason,
        "outcome": life.outcome,
        "winner": None if life.winner is None else life.arms[life.winner].name,
        "epoch": f"{dossier.document.epoch:016x}",
        "control": life.arms[life.control].name,
        "leader": None if leader is None else life.arms[leader].name,
        "age_s": age_s(life, now),
        "reference_rows": dossier.document.reference_rows,
        "value_remaining": _remaining(assessment),
        "not_ready": [] if assessment is None else list(assessment.not_ready),
        "evidence_bar_log": None if assessment is None else assessment.evidence_bar_log,
        "margin": None if assessment is None else assessment.margin,
        "certified_gap": None if assessment is None else assessment.certified_gap,
        "alarms": [],
        "arms": [_arm(dossier, seen, assessment, totals[place], parts, place) for place in range(len(life.arms))],
    } | _money(dossier, assessment, totals, now)


def _totals(dossier: Dossier, seen: Seen) -> list[Counter[str]]:
    totals: list[Counter[str]] = [Counter() for _ in dossier.spec.arms]
    for (arm, _), cell in seen.cells.items():
        totals[arm].update(cell)
    return totals


def _remaining(assessment: Assessment | None) -> dict[str, Any]:
    if assessment is None:
        return {"q95": None, "threshold": None, "drained": None}
    return {
        "q95": assessment.remaining_q95,
        "threshold": assessment.threshold,
        "drained": assessment.is_drained,
    }


def _arm(
    dossier: Dossier,
    seen: Seen,
    assessment: Assessment | None,
    total: Counter[str],
    parts: Sequence[int],
    place: int,
) -> dict[str, Any]:
    low, high = dossier.spec.objective.reward.range
    learned = total["rewards"]
    cost = deciding_cost_usd(dossier, place, seen.prices_usd_per_hour)
    rate = low + total["reward_q"] / STEPS / learned * (high - low) if learned else None
    value = None if rate is None else dossier.spec.objective.value_usd * rate - cost
    decisions = total["decisions"] + total["unlearned_decisions"]
    rewards = learned + total["unlearned_rewards"]
    arm = dossier.life.arms[place]
    return {
        "name": arm.name,
        "state": arm.state,
        "reason": arm.reason,
        "weight": parts[place] / PARTS,
        "decisions": decisions,
        "rows": total["rows"],
        "rewards": rewards,
        "rewards_learned": learned,
        "reward_sum": low * rewards + (total["reward_q"] + total["unlearned_reward_q"]) / STEPS * (high - low),
        "pending": max(0, decisions - rewards),
        "errors": total["errors"],
        "rate": rate if assessment is None else float(assessment.rate[place]),
        "cost_usd": total["cost_pico_usd"] * 1e-12,
        "prediction_cost_usd": cost,
        "value_usd": value if assessment is None else float(assessment.value_usd[place]),
        "value_usd_low": None if assessment is None else float(assessment.value_low[place]),
        "value_usd_high": None if assessment is None else float(assessment.value_high[place]),
        "best_probability": None if assessment is None else float(assessment.p_best[place]),
        "evidence_log": None if assessment is None else float(assessment.evidence_log[place]),
    }


def _money(
    dossier: Dossier, assessment: Assessment | None, totals: Sequence[Counter[str]], now: float
) -> dict[str, Any]:
    """Return what going on costs a day at the present traffic: value given up by exploring. Retiring frees capacity.

    $0 is freed a day, for no replica is switched off: the backend costs the same with fewer models.
    """
    age = age_s(dossier.life, now)
    cost = None
    if assessment is not None and age > 0.0:
        a_day = sum(total["decisions"] for total in totals) / age * _DAY_S
        best = float(assessment.value_usd[assessment.leader])
        given_up = sum(
            float(weight) * max(0.0, best - float(value))
            for weight, value in zip(assessment.weights, assessment.value_usd, strict=True)
        )
        cost = given_up * a_day
    return {
        "continuing": {"worth_usd_day": None, "cost_usd_day": cost},
        "retiring": {"frees_usd_day": 0.0, "frees_capacity": True},
    }
