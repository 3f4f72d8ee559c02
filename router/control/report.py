"""The numbers behind a decision, as `/admin/v1/experiments/{name}/state` shows them (design §14)."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from bandits.experiment import age_s
from bandits.question import Assessment
from bandits.sums import STEPS
from router.control.dossier import ArmNumbers, Dossier, Numbers
from router.control.seen import Seen, deciding_cost_usd
from router.snapshot import PARTS

_DAY_S: Final = 86_400.0


def numbers_of(assessment: Assessment) -> Numbers:
    """Return what is kept of an assessment; what is infinite or unknown is None, for JSON knows neither."""
    best = float(assessment.value_usd[assessment.leader])
    given_up = sum(
        float(weight) * max(0.0, best - float(value))
        for weight, value in zip(assessment.weights, assessment.value_usd, strict=True)
    )
    return Numbers(
        leader=assessment.leader,
        remaining_q95=_finite(assessment.remaining_q95),
        threshold=assessment.threshold,
        is_drained=assessment.is_drained,
        not_ready=assessment.not_ready,
        evidence_bar_log=assessment.evidence_bar_log,
        margin=assessment.margin,
        certified_gap=_finite(assessment.certified_gap),
        given_up_usd=given_up,
        arms=tuple(
            ArmNumbers(*(float(number) for number in row))
            for row in zip(
                assessment.rate,
                assessment.value_usd,
                assessment.value_low,
                assessment.value_high,
                assessment.p_best,
                assessment.evidence_log,
                strict=True,
            )
        ),
    )


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def state_view(dossier: Dossier, seen: Seen, parts: Sequence[int], now: float) -> dict[str, Any]:
    """Return the state as plain JSON values; what only an assessment knows is null before the first one.

    Sums are over the epoch; `rewards` counts every unique reward, learned or not; money in dollars, `value_usd…` per
    prediction at the reference size and the current price.
    """
    life = dossier.life
    totals = _totals(dossier, seen)
    numbers = dossier.document.numbers
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
        "value_remaining": {
            "q95": numbers and numbers.remaining_q95,
            "threshold": dossier.spec.stop.delta,
            "drained": numbers is not None and numbers.is_drained,
        },
        "not_ready": list(numbers.not_ready) if numbers else [],
        "evidence_bar_log": numbers and numbers.evidence_bar_log,
        "margin": numbers and numbers.margin,
        "certified_gap": numbers and numbers.certified_gap,
        "alarms": [],
        "arms": [_arm(dossier, seen, totals[place], parts, place) for place in range(len(life.arms))],
    } | _money(dossier, totals, now)


def _totals(dossier: Dossier, seen: Seen) -> list[Counter[str]]:
    totals: list[Counter[str]] = [Counter() for _ in dossier.spec.arms]
    for (arm, _), cell in seen.cells.items():
        totals[arm].update(cell)
    return totals


def _arm(dossier: Dossier, seen: Seen, total: Counter[str], parts: Sequence[int], place: int) -> dict[str, Any]:
    low, high = dossier.spec.objective.reward.range
    learned = total["rewards"]
    cost = deciding_cost_usd(dossier, place, seen.prices_usd_per_hour)
    decisions = total["decisions"] + total["unlearned_decisions"]
    rewards = learned + total["unlearned_rewards"]
    arm = dossier.life.arms[place]
    numbers = dossier.document.numbers
    assessed = numbers and numbers.arms[place]
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
        "rate": assessed and assessed.rate,
        "cost_usd": total["cost_pico_usd"] * 1e-12,
        "prediction_cost_usd": cost,
        "value_usd": assessed and assessed.value_usd,
        "value_usd_low": assessed and assessed.value_usd_low,
        "value_usd_high": assessed and assessed.value_usd_high,
        "best_probability": assessed and assessed.best_probability,
        "evidence_log": assessed and assessed.evidence_log,
    }


def _money(dossier: Dossier, totals: Sequence[Counter[str]], now: float) -> dict[str, Any]:
    """Return what going on costs a day at the present traffic: value given up by exploring. Retiring frees capacity.

    $0 is freed a day, for no replica is switched off: the backend costs the same with fewer models.
    """
    age, numbers = age_s(dossier.life, now), dossier.document.numbers
    cost = None
    if numbers is not None and age > 0.0:
        cost = numbers.given_up_usd * sum(total["decisions"] for total in totals) / age * _DAY_S
    return {
        "continuing": {"worth_usd_day": None, "cost_usd_day": cost},
        "retiring": {"frees_usd_day": 0.0, "frees_capacity": True},
    }
