"""One refresh of the learner: from sums and prices to weights, value remaining, evidence, and what may end."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from bandits import claim, evidence, readiness, strata, weights
from bandits.draws import Standing, normal_points, standing
from bandits.posterior import LogitFit, fit_logit
from bandits.question import ArmFacts, Assessment, Question

__all__ = ["ArmFacts", "Assessment", "Question", "assess"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# The two-sided 95 % of a normal.
Z95 = 1.959964
# A single arm may go when it is hardly ever best and dropping it costs next to nothing (bandit-science.md, Part II §3).
RETIRE_P_BEST_MAX = 0.01
RETIRE_DROP_MAX = 0.001


def assess(question: Question, cache: evidence.GridCache | None = None) -> Assessment:
    """Answer the question; the cache only saves time, and must belong to this experiment."""
    outcomes, fit = _fit(question)
    costs = np.array([arm.cost_usd for arm in question.arms])
    is_live = np.array([arm.is_live for arm in question.arms])
    value_usd = question.objective.value_usd
    sd = np.sqrt(np.diag(fit.eta_cov))
    place = standing(_drawn(fit) * value_usd - costs, is_live, question.control)
    value = value_usd * fit.theta - costs
    gate = _gate(question, outcomes, fit, place.leader, costs, cache or evidence.GridCache())
    unready = readiness.reasons(question, outcomes, fit.theta)
    scale = abs(float(value[place.leader]))
    is_drained = not unready and place.remaining <= question.stop.delta * scale
    others = is_live.copy()
    others[place.leader] = False
    is_over = is_drained and len(question.arms) > 1 and bool(is_live.any() and gate.refuted[others].all())
    return Assessment(
        weights=_weigh(question, outcomes, place, gate.refuted, is_drained and not is_over),
        p_best=place.p_best,
        leader=place.leader,
        rate=fit.theta,
        value_usd=value,
        value_low=value_usd * expit(fit.eta - Z95 * sd) - costs,
        value_high=value_usd * expit(fit.eta + Z95 * sd) - costs,
        # A leader worth exactly nothing: any value remaining is infinitely more.
        remaining_q95=place.remaining / scale if scale > 0 else math.inf if place.remaining > 0 else 0.0,
        threshold=question.stop.delta,
        is_ready=not unready,
        not_ready=unready,
        is_drained=is_drained,
        evidence_log=gate.log_evidence,
        evidence_bar_log=gate.bar,
        refuted=gate.refuted,
        retire=_retire(place, gate.refuted & others, scale, is_ready=not unready, is_over=is_over),
        is_over=is_over,
        margin=gate.margin,
        certified_gap=gate.certified_gap,
        drop_usd=place.drop,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Gate:
    log_evidence: Floats
    refuted: Bools
    bar: float
    margin: float
    certified_gap: float


def _fit(question: Question) -> tuple[strata.Outcomes, LogitFit]:
    """Return the outcomes per stratum of the gate, and the posterior over merged strata."""
    policy, blocks = question.policy, question.sums.blocks
    if question.starts_s is None:
        spans = strata.spans_on_grid(
            blocks, block_s=policy.block_s, open_block=question.open_block, open_share=question.open_share
        )
    else:
        spans = strata.spans_from(question.starts_s, question.age_s)
    outcomes = strata.in_window(strata.resolve(question.sums, question.objective, spans), spans, question.stop.cycle_s)
    outcomes = strata.roll_up(outcomes, blocks)
    merged = strata.merge(outcomes, sum(arm.is_live for arm in question.arms))
    return outcomes, fit_logit(merged.trials, merged.total, merged.share, policy.prior_mean, policy.prior_strength)


def _drawn(fit: LogitFit) -> Floats:
    """Return rates (4096, K) drawn from the posterior."""
    cov = fit.eta_cov
    # With 1e9 requests the covariance is singular to the last digits; a relative 1e-12 is far below any decision.
    root = np.linalg.cholesky(cov + np.eye(len(cov)) * (1e-12 * np.trace(cov)))
    return np.asarray(expit(fit.eta + normal_points(len(cov)) @ root.T), np.float64)


def _gate(
    question: Question, outcomes: strata.Outcomes, fit: LogitFit, leader: int, costs: Floats, cache: evidence.GridCache
) -> _Gate:
    """Test each arm against the leader; the leader itself and arms that are not live get evidence 0."""
    stop = question.stop
    theta = float(fit.theta[leader])
    margin = claim.margin_of(math.sqrt(theta * (1 - theta)), theta, stop.delta, stop.margin)
    is_cycle_seen = stop.cycle_s is None or question.age_s >= stop.cycle_s
    ends = claim.level_ends(theta, math.sqrt(fit.eta_cov[leader, leader]), is_cycle_seen=is_cycle_seen)
    base = fit.alpha + fit.beta[leader]
    rivals = [arm for arm, facts in enumerate(question.arms) if facts.is_live and arm != leader]
    money = claim.Money(question.objective.value_usd, float(costs[leader]), costs[rivals])
    thresholds = claim.effect_threshold(base, fit.share, ends, money, margin)
    # All arms the experiment has ever had share alpha (Part I §B: K0 - 1).
    bar = math.log(max(1, len(costs) - 1) / stop.alpha)
    pairs = [(rival, leader) for rival in rivals]
    tables = [evidence.tables_of(outcomes.trials, outcomes.total, outcomes.pending, *pair) for pair in pairs]
    grids = cache.grids(pairs, tables)
    found = np.zeros(len(costs))
    found[rivals] = evidence.log_evidences(tables, thresholds, grids)
    # What was refuted is a bound too; the other one is rounded up to the grid.
    bounds = np.minimum(
        np.array([evidence.upper_bound(grid, bar) for grid in grids]),
        np.where(found[rivals] >= bar, thresholds, math.inf),
    )
    gap = claim.certified_gap(base, fit.share, ends, money, bounds)
    return _Gate(found, found >= bar, bar, margin, gap)


def _weigh(
    question: Question, outcomes: strata.Outcomes, place: Standing, refuted: Bools, is_confirming: bool
) -> Floats:
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
            shares = _sprint(is_live, refuted, place.leader, question.stop.sprint_leader)
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
