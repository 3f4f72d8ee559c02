"""Binary rewards: the logit posterior and its conditional confidence sequence, as belief and gate (Part I §A to §C)."""

import math
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from bandits import claim, evidence, strata
from bandits.draws import normal_points
from bandits.gate import Z95, Belief, Gate, root_of
from bandits.posterior import LogitFit, fit_logit
from bandits.question import Question

Floats = NDArray[np.float64]


def believe(question: Question, outcomes: strata.Outcomes, cache: evidence.GridCache) -> Belief:
    """Fit the outcomes of the gate's strata (merged where they are small) and say what follows."""
    policy = question.policy
    merged = strata.merge(outcomes, sum(arm.is_live for arm in question.arms))
    fit = fit_logit(merged.trials, merged.total, merged.share, policy.prior_mean, policy.prior_strength)
    sd = np.sqrt(np.diag(fit.eta_cov))
    return Belief(
        rate=fit.theta,
        low=expit(fit.eta - Z95 * sd),
        high=expit(fit.eta + Z95 * sd),
        drawn=expit(fit.eta + normal_points(sd.size) @ root_of(fit.eta_cov).T),
        test=partial(_test, question, outcomes, fit, cache),
    )


def _test(
    question: Question, outcomes: strata.Outcomes, fit: LogitFit, cache: evidence.GridCache, leader: int, costs: Floats
) -> Gate:
    stop = question.stop
    theta = float(fit.theta[leader])
    margin = claim.margin_of(math.sqrt(theta * (1 - theta)), theta, stop.delta, stop.margin)
    is_cycle_seen = stop.cycle_s is None or question.age_s >= stop.cycle_s
    ends = claim.level_ends(theta, math.sqrt(fit.eta_cov[leader, leader]), is_cycle_seen=is_cycle_seen)
    base = fit.alpha + fit.beta[leader]
    rivals = question.rivals(leader)
    money = claim.Money(question.objective.value_usd, float(costs[leader]), costs[rivals])
    thresholds = claim.effect_threshold(base, fit.share, ends, money, margin)
    bar = claim.bar_log(len(costs), stop.alpha)
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
    return Gate(found, found >= bar, bar, margin, claim.certified_gap(base, fit.share, ends, money, bounds))
