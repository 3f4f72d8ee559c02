"""The numbers behind a decision, as `/admin/v1/experiments/{name}/state` shows them (design §14)."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from bandits.alarm import Alarm
from bandits.arrivals import Delays
from bandits.experiment import age_s
from bandits.life import ArmLife
from bandits.question import Assessment, SegmentFacts
from bandits.sums import STEPS
from router.control.dossier import (
    AlarmNumbers,
    ArmNumbers,
    DelayNumbers,
    Dossier,
    Numbers,
    SegmentNumbers,
    SprintNumbers,
)
from router.control.freed import keeping_usd_day, retiring
from router.control.seen import Seen, deciding_cost_usd, deciding_price
from router.control.segment_report import segments_view
from router.control.shadows import shadows_view
from router.control.splits import Splits
from router.control.tally import Counted
from router.heartbeat import ExperimentBeat
from router.snapshot import PARTS

# The fields whose sums are shown.
_SUMMED: Final = (
    "decisions",
    "unlearned_decisions",
    "rows",
    "rewards",
    "reward_q",
    "unlearned_rewards",
    "unlearned_reward_q",
    "errors",
    "unlearned_errors",
    "cost_pico_usd",
    "late_rewards",
)


def numbers_of(
    assessment: Assessment, requests_per_day: float, ringing: Sequence[Alarm] = (), delays: Delays | None = None
) -> Numbers:
    """Return what is kept of an assessment, of the alarms that ring beside it, and of the delays; what is infinite or
    unknown is None, for JSON knows neither."""
    sprint = assessment.sprint
    return Numbers(
        leader=assessment.leader,
        remaining_q95=_finite(assessment.remaining_q95),
        threshold=assessment.threshold,
        is_drained=assessment.is_drained,
        not_ready=assessment.not_ready,
        evidence_bar_log=assessment.evidence_bar_log,
        margin=assessment.margin,
        certified_gap=_finite(assessment.certified_gap),
        given_up_usd=assessment.given_up_usd,
        arms=tuple(_arm_numbers(assessment, arm, delays) for arm in range(assessment.rate.size)),
        requests_per_day=requests_per_day,
        worth_usd_day=assessment.worth_usd_day,
        sprint=SprintNumbers(
            sprint.is_running, _finite(sprint.requests), _finite(sprint.price_usd), sprint.spent_usd, sprint.refused
        ),
        alarms=tuple(
            AlarmNumbers(alarm.name, alarm.arm, alarm.log_e, alarm.bar_log, alarm.words)
            for alarm in (*ringing, *assessment.drift)
        ),
        segments=tuple(
            SegmentNumbers(
                traffic=one.traffic,
                leader=one.leader,
                serves=one.serves,
                arms=tuple(_arm_numbers(one, arm) for arm in range(one.rate.size)),
            )
            for one in assessment.segments
        ),
    )


def _arm_numbers(found: Assessment | SegmentFacts, arm: int, delays: Delays | None = None) -> ArmNumbers:
    return ArmNumbers(
        rate=float(found.rate[arm]),
        value_usd=float(found.value_usd[arm]),
        value_usd_low=float(found.value_low[arm]),
        value_usd_high=float(found.value_high[arm]),
        best_probability=float(found.p_best[arm]),
        evidence_log=float(found.evidence_log[arm]),
        score=float(found.score[arm]),
        is_refuted=bool(found.refuted[arm]),
        delay=None
        if delays is None
        else DelayNumbers(
            "product_limit" if delays.is_limit[arm] else "exponential",
            *(float(each[arm]) for each in (delays.mean_s, delays.arrived, delays.gap)),
        ),
    )


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def state_view(dossier: Dossier, seen: Seen, counted: Counted, splits: Splits, now: float) -> dict[str, Any]:
    """Return the state as plain JSON values; what only an assessment knows is null before the first one.

    Sums are over the epoch; `rewards` counts every unique reward, learned or not; money in dollars, `value_usd…` per
    prediction at the reference size and the current price.
    """
    life = dossier.life
    totals = _totals(dossier, counted, now)
    numbers = dossier.document.numbers
    leader = life.winner if life.winner is not None else life.leader
    return {
        "name": dossier.name,
        "model": dossier.spec.model,
        "phase": life.phase,
        "reason": life.reason,
        "bypassed": life.is_bypassed,
        "outcome": life.outcome,
        "winner": None if life.winner is None else life.arms[life.winner].name,
        "epoch": f"{dossier.document.epoch:016x}",
        "control": life.arms[life.control].name,
        "leader": None if leader is None else life.arms[leader].name,
        "mode": dossier.spec.mode,
        "objective": dossier.spec.objective.kind,
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
        "alarms": [
            *([msgspec.to_builtins(alarm) for alarm in numbers.alarms] if numbers else []),
            *_price_alarms(dossier, seen),
        ],
        "requests_per_day": numbers and numbers.requests_per_day,
        "sprint": _sprint(dossier),
        "gateways": [_gateway(beat, now) for beat in seen.beats],
        "arms": [_arm(dossier, seen, totals[place], splits.parts, place) for place in range(len(life.arms))],
        "segments": segments_view(dossier, seen, counted, splits),
        "shadow": shadows_view(dossier, life, seen.shadowing, seen.prices_usd_per_hour),
        "continuing": _continuing(numbers, keeping_usd_day(dossier, seen.alone_on, seen.prices_usd_per_hour)),
        "retiring": retiring(dossier, seen.alone_on, seen.prices_usd_per_hour),
    }


def _price_alarms(dossier: Dossier, seen: Seen) -> list[dict[str, Any]]:
    """Return the prices that can't be relied on, in the form of alarms; what is known for certain has no evidence."""
    return [
        {
            "name": "price",
            "arm": arm.name,
            "evidence_log": None,
            "bar_log": None,
            "words": seen.price_warnings[arm.backend],
        }
        for arm in dossier.spec.arms
        if arm.backend in seen.price_warnings
    ]


def _gateway(beat: ExperimentBeat, now: float) -> dict[str, Any]:
    """Return what a live worker has heard of rewards since its start: silence that no sum can show."""
    calls: Counter[str] = sum((Counter(arm.reward_calls) for arm in beat.arms), Counter())
    last_at = beat.reward_call_at
    return {"reward_calls": dict(calls), "reward_call_age_s": None if last_at is None else max(0.0, now - last_at)}


def _sprint(dossier: Dossier) -> dict[str, Any]:
    """Return the sprint's price, from here or from its beginning, before it begins; null where it can't be told."""
    rules, numbers = dossier.spec.stop.sprint, dossier.document.numbers
    known = msgspec.to_builtins(numbers.sprint if numbers else SprintNumbers())
    return {"leader": rules and rules.leader, "max_usd": rules and rules.max_usd, **known}


def _totals(dossier: Dossier, counted: Counted, now: float) -> list[dict[str, int]]:
    """Return each arm's sums over the epoch, and as `pending` its learned decisions that may still get a reward.

    A block's decisions are as old as its last one: until then nobody knows which of them have run out of time.
    """
    document, window_s = dossier.document, dossier.spec.objective.reward.window
    # An open block ends when it is due, even where nothing begins the next one: after the end of learning.
    due = max(document.block_starts, default=0.0) + dossier.spec.policy.block
    ends = np.array([*document.block_starts[1:], min(now, due)])
    blocks = counted.blocks
    is_known = (blocks > 0) & (blocks <= document.block)
    may_come = np.zeros(blocks.size, np.bool_)
    may_come[is_known] = now - ends[blocks[is_known] - 1] < window_s
    waiting = np.maximum(0, counted.of("decisions")[may_come] - counted.of("rewards")[may_come]).sum(axis=0)
    return [
        total | {"pending": pending} for total, pending in zip(counted.totals(_SUMMED), waiting.tolist(), strict=True)
    ]


def _arm(dossier: Dossier, seen: Seen, total: Mapping[str, int], parts: Sequence[int], place: int) -> dict[str, Any]:
    low, high = dossier.spec.objective.reward.range
    learned = total["rewards"]
    cost = deciding_cost_usd(dossier, place, seen.prices_usd_per_hour)
    decisions = total["decisions"] + total["unlearned_decisions"]
    rewards = learned + total["unlearned_rewards"]
    arm = dossier.life.arms[place]
    numbers = dossier.document.numbers
    assessed = numbers and numbers.arms[place]
    # Without a cost there is no value: an arm that was never calibrated would look best.
    valued = assessed if cost is not None else None
    return {
        "name": arm.name,
        "state": arm.state,
        "reward_group": dossier.spec.arms[place].reward_group,
        "reason": arm.reason,
        "quarantine": _quarantine(arm),
        "weight": parts[place] / PARTS,
        "decisions": decisions,
        "rows": total["rows"],
        "rewards": rewards,
        "rewards_learned": learned,
        "reward_sum": low * rewards + (total["reward_q"] + total["unlearned_reward_q"]) / STEPS * (high - low),
        "pending": total["pending"],
        "late": total["late_rewards"],
        "reward_calls": dict(sum((Counter(beat.arms[place].reward_calls) for beat in seen.beats), Counter())),
        "delay": assessed and msgspec.to_builtins(assessed.delay),
        "errors": total["errors"] + total["unlearned_errors"],
        "rate": assessed and assessed.rate,
        "cost_usd": total["cost_pico_usd"] * 1e-12,
        "prediction_cost_usd": cost,
        "price_usd_per_hour": deciding_price(dossier, place, seen.prices_usd_per_hour),
        "value_usd": valued and valued.value_usd,
        "value_usd_low": valued and valued.value_usd_low,
        "value_usd_high": valued and valued.value_usd_high,
        "best_probability": assessed and assessed.best_probability,
        "evidence_log": assessed and assessed.evidence_log,
        "refuted": assessed and assessed.is_refuted,
        "score": valued and valued.score,
    }


def _quarantine(arm: ArmLife) -> dict[str, Any] | None:
    """Return when a quarantined arm is tried again (unix s); `reason` says what it is there for."""
    if arm.state != "quarantined":
        return None
    return {"rests": arm.rests, "next_try_at": arm.rests_until, "is_trying": arm.is_trying}


def _continuing(numbers: Numbers | None, keeping: float) -> dict[str, Any]:
    """Return what a day more at the present traffic is worth on every day after it, and what it costs: value given up
    by exploring, and `keeping`, the machines that only losing arms keep on. Unknown without any traffic.
    """
    worth = cost = None
    if numbers is not None and numbers.requests_per_day > 0.0:
        worth, cost = numbers.worth_usd_day, numbers.given_up_usd * numbers.requests_per_day + keeping
    return {"worth_usd_day": worth, "cost_usd_day": cost, "keeping_usd_day": keeping}
