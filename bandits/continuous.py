"""Continuous and count rewards: strata with a level each, arms with a mean and a spread each, as belief and gate.

y = a_t + mu_k + e. Rewards are shares of their range here; only the belief is in their own unit. The confidence
sequence is asymptotic, unlike the binary one. Source: bandit-science.md, Part I §J. Shapes: T strata, K arms.
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bandits import claim
from bandits.draws import normal_points
from bandits.evidence import EVIDENCE_MAX, KNOWN_MIN, PENDING_MAX
from bandits.gate import Z95, Belief, Gate, root_of
from bandits.question import Question
from bandits.strata import Outcomes
from bandits.sums import STEPS

Floats = NDArray[np.float64]

# An arm's own variance is trusted like this many requests more of the pooled one (Part I §J).
POOL_STRENGTH = 20.0
# A reward that never varies still has the error of its step; with no two rewards at all, a uniform one's spread.
VARIANCE_MIN = (1.0 / STEPS) ** 2
VARIANCE_UNKNOWN = 1.0 / 12.0
# The mixture of the confidence sequence: effects of these many standard deviations of a reward (Part I §J).
MIXTURE = np.array([0.02, 0.1, 0.5])


@dataclass(frozen=True, slots=True, eq=False)
class NormalFit:
    """The posterior: `theta` (K,) means standardised over the strata's shares, covariance `theta_cov` (K, K).

    `variance` (K,) of one reward, `pooled` over the arms.
    """

    theta: Floats
    theta_cov: Floats
    variance: Floats
    pooled: float


def fit_normal(outcomes: Outcomes, prior_mean: float) -> NormalFit:
    """Fit means and spreads; without any outcome all means are the prior's."""
    rows = outcomes.trials.sum(axis=1) > 0
    n, total, share = outcomes.trials[rows], outcomes.total[rows], outcomes.share[rows]
    variance, pooled = _variances(n, total, outcomes.square[rows])
    arms = n.shape[1]
    if not rows.any():
        return NormalFit(np.full(arms, prior_mean), np.eye(arms) * pooled + pooled, variance, pooled)
    if share.sum() > 0:
        share = share / share.sum()
    precision = n / variance
    depth = precision.sum(axis=1)
    scaled = precision / depth[:, None]
    # The levels are eliminated; an arm's effect has the prior N(0, pooled).
    information = np.diag(precision.sum(axis=0) + 1.0 / pooled) - precision.T @ scaled
    gradient = (total / variance).sum(axis=0) - ((total / variance).sum(axis=1) @ scaled)
    effects = np.linalg.solve(information, gradient)
    # Levels given the effects, by precision (the reference weighs by requests: then their errors are not independent
    # of the effects', and intervals of arms with unlike spreads hold .91 to .98 instead of .95).
    level = share @ ((total / variance - precision * effects).sum(axis=1) / depth)
    # J: what the effects' errors do to the means, through their own and through the level; L: the level's own error.
    answer = np.eye(arms) - (share @ scaled)[None, :]
    cov = answer @ np.linalg.solve(information, answer.T) + float(share**2 @ (1.0 / depth))
    return NormalFit(level + effects, cov, variance, pooled)


def _variances(n: Floats, total: Floats, square: Floats) -> tuple[Floats, float]:
    """Return each arm's variance of one reward within strata, drawn to the pooled one, and that."""
    scatter = np.maximum(square - np.divide(total**2, n, out=np.zeros_like(total), where=n > 0), 0.0)
    freedom = np.maximum(n - 1.0, 0.0)
    pooled = float(scatter.sum() / freedom.sum()) if freedom.sum() > 0 else VARIANCE_UNKNOWN
    pooled = max(pooled, VARIANCE_MIN)
    own = (scatter.sum(axis=0) + POOL_STRENGTH * pooled) / (freedom.sum(axis=0) + POOL_STRENGTH)
    return np.asarray(own, np.float64), pooled


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better k does than l: the estimate `d`, its precision `a`, and one reward's pooled spread `sigma`."""

    d: float
    a: float
    sigma: float

    def _log_mixed(self) -> float:
        variance = (MIXTURE * self.sigma) ** 2
        logs = -0.5 * np.log1p(variance * self.a) - self.d**2 / (2.0 * (variance + 1.0 / self.a))
        return float(np.logaddexp.reduce(logs) - math.log(MIXTURE.size))

    def log_evidence(self, least: float) -> float:
        """Return log E against "k is better by at least `least`", within +-1000; 0 without any data."""
        if self.a <= 0.0:
            return 0.0
        below = 0.5 * self.a * (least - self.d) ** 2 if self.d < least else 0.0
        return max(-EVIDENCE_MAX, min(EVIDENCE_MAX, self._log_mixed() + below))

    def upper(self, bar: float) -> float:
        """Return the smallest difference with log E >= bar; inf without any data."""
        if self.a <= 0.0:
            return math.inf
        return self.d + math.sqrt(2.0 * max(0.0, bar - self._log_mixed()) / self.a)


def difference(outcomes: Outcomes, fit: NormalFit, k: int, l: int) -> Difference:  # noqa: E741 - the source's name
    """Compare k with l within strata that are known well enough.

    Pending outcomes above 1 % of an arm's decisions in a stratum count against refuting: as the highest reward of k,
    the lowest of l.
    """
    n, pending = outcomes.trials[:, [k, l]], outcomes.pending[:, [k, l]]
    known = n / np.maximum(n + pending, 1.0)
    worst = np.where(known < 1.0 - PENDING_MAX, pending, 0.0)
    rows = (known >= KNOWN_MIN).all(axis=1) & (n > 0).all(axis=1)
    n, total = (n + worst)[rows], outcomes.total[:, [k, l]][rows]
    total[:, 0] += worst[rows, 0]
    h = 1.0 / (fit.variance[k] / n[:, 0] + fit.variance[l] / n[:, 1])
    means = total / n
    a = float(h.sum())
    d = float(h @ (means[:, 0] - means[:, 1])) / a if a > 0 else 0.0
    return Difference(d, a, math.sqrt(fit.pooled))


def believe(question: Question, outcomes: Outcomes) -> Belief:
    """Fit the outcomes and say what follows, in the reward's own unit."""
    low, span = question.objective.low, question.objective.high - question.objective.low
    fit = fit_normal(outcomes, question.policy.prior_mean)
    sd = np.sqrt(np.diag(fit.theta_cov))
    return Belief(
        rate=low + span * fit.theta,
        low=low + span * np.clip(fit.theta - Z95 * sd, 0.0, 1.0),
        high=low + span * np.clip(fit.theta + Z95 * sd, 0.0, 1.0),
        drawn=low + span * (fit.theta + normal_points(sd.size) @ root_of(fit.theta_cov).T),
        test=partial(_test, question, outcomes, fit),
    )


def _test(question: Question, outcomes: Outcomes, fit: NormalFit, leader: int, costs: Floats) -> Gate:
    stop, objective = question.stop, question.objective
    span = objective.high - objective.low
    mean = objective.low + span * float(fit.theta[leader])
    worth = objective.value_usd * mean
    value = worth - float(costs[leader])
    margin = claim.margin_of(span * math.sqrt(fit.variance[leader]), abs(mean), stop.delta, stop.margin)
    extra = margin * max(abs(value), claim.MARGIN_OF_REWARD_MIN * abs(worth))
    bar = claim.bar_log(len(costs), stop.alpha)
    found, gap = np.zeros(len(costs)), 0.0
    for rival in question.rivals(leader):
        seen = difference(outcomes, fit, rival, leader)
        # The level is common to both, so that costs and margin are a difference of means at every level.
        dearer = float(costs[rival] - costs[leader])
        found[rival] = seen.log_evidence((extra + dearer) / (objective.value_usd * span))
        ahead = objective.value_usd * span * seen.upper(bar) - dearer
        gap = max(gap, ahead / abs(value) if value != 0.0 else math.inf)
    return Gate(found, found >= bar, bar, margin, gap)
