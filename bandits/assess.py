"""One refresh of the learner: from sums and prices to weights, value remaining, evidence, and what may end."""

import math

import numpy as np
from numpy.typing import NDArray

from bandits import binary, continuous, readiness, strata, weights
from bandits.draws import Standing, standing
from bandits.evidence import GridCache
from bandits.gate import Gate
from bandits.question import ArmFacts, Assessment, Question

__all__ = ["ArmFacts", "Assessment", "Question", "assess"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# A single arm may go when it is hardly ever best and dropping it costs next to nothing (bandit-science.md, Part II §3).
RETIRE_P_BEST_MAX = 0.01
RETIRE_DROP_MAX = 0.001


def assess(question: Question, cache: GridCache | None = None) -> Assessment:
    """Answer the question; the cache only saves time, and must belong to this experiment."""
    outcomes = _outcomes(question)
    if question.objective.reward_type == "binary":
        belief = binary.believe(question, outcomes, cache or GridCache())
    else:
        belief = continuous.believe(question, outcomes)
    costs = np.array([arm.cost_usd for arm in question.arms])
    is_live = np.array([arm.is_live for arm in question.arms])
    value_usd = question.objective.value_usd
    place = standing(belief.drawn * value_usd - costs, is_live, question.control)
    gate = belief.test(place.leader, costs)
    value = value_usd * belief.rate - costs
    unready = readiness.reasons(question, outcomes, belief.rate)
    scale = abs(float(value[place.leader]))
    is_drained = not unready and place.remaining <= question.stop.delta * scale
    rivals = question.rivals(place.leader)
    is_over = is_drained and len(question.arms) > 1 and bool(is_live.any() and gate.refuted[rivals].all())
    return Assessment(
        weights=_weigh(question, outcomes, place, gate, is_drained and not is_over),
        p_best=place.p_best,
        leader=place.leader,
        rate=belief.rate,
        value_usd=value,
        value_low=value_usd * belief.low - costs,
        value_high=value_usd * belief.high - costs,
        # A leader worth exactly nothing: any value remaining is infinitely more.
        remaining_q95=place.remaining / scale if scale > 0 else math.inf if place.remaining > 0 else 0.0,
        threshold=question.stop.delta,
        is_ready=not unready,
        not_ready=unready,
        is_drained=is_drained,
        evidence_log=gate.log_evidence,
        evidence_bar_log=gate.bar,
        refuted=gate.refuted,
        retire=_retire(place, gate.refuted, scale, is_ready=not unready, is_over=is_over),
        is_over=is_over,
        margin=gate.margin,
        certified_gap=gate.certified_gap,
        drop_usd=place.drop,
    )


def _outcomes(question: Question) -> strata.Outcomes:
    """Return what is known per stratum, with each stratum's share of the last cycle."""
    sums = question.sums
    if question.starts_s is None:
        block_s, open_block = question.policy.block_s, question.open_block
        spans = strata.spans_on_grid(
            sums.blocks, block_s=block_s, open_block=open_block, open_share=question.open_share
        )
    else:
        spans = strata.spans_from(question.starts_s, question.age_s)
    known = strata.resolve(sums, question.objective, spans)
    return strata.roll_up(strata.in_window(known, spans, question.stop.cycle_s), sums.blocks)


def _weigh(question: Question, outcomes: strata.Outcomes, place: Standing, gate: Gate, is_confirming: bool) -> Floats:
    """Return the shares of traffic: equal at first, then P(best), then the sprint; with floor and caps."""
    is_live = np.array([arm.is_live for arm in question.arms])
    if not is_live.any():
        return np.asarray(np.arange(is_live.size) == question.control, np.float64)
    shares = place.p_best
    if is_live.sum() > 1:
        is_known = np.array([arm.is_cost_known for arm in question.arms])
        is_thin = outcomes.trials.sum(axis=0) < question.stop.min_per_arm
        if (is_thin | ~is_known)[is_live].any():
            shares = is_live.astype(np.float64)
        elif is_confirming:
            shares = _sprint(is_live, gate.refuted, place.leader, question.stop.sprint_leader)
    caps = np.array([arm.max_share for arm in question.arms])
    return weights.capped(weights.floored(shares, is_live, question.policy.floor), caps, question.control)


def _sprint(is_live: Bools, refuted: Bools, leader: int, leader_share: float) -> Floats:
    """Return the shares that confirm soonest: the leader's, and the rest split over challengers not yet refuted."""
    shares = (is_live & ~refuted).astype(np.float64)
    shares[leader] = 0.0
    shares *= (1.0 - leader_share) / max(1.0, shares.sum())
    shares[leader] = leader_share
    return shares


def _retire(place: Standing, refuted: Bools, scale: float, *, is_ready: bool, is_over: bool) -> tuple[int, ...]:
    """Return the refuted arms that may go: all at the end, before only those that are next to worthless too."""
    is_worthless = (place.p_best < RETIRE_P_BEST_MAX) & (place.drop < RETIRE_DROP_MAX * scale)
    may_go = refuted if is_over else refuted & is_worthless & is_ready
    return tuple(int(arm) for arm in np.flatnonzero(may_go))
