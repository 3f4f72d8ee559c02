"""Continuous and count rewards: strata with a level each, arms with a mean and a spread each, as belief and gate.

y = a_t + mu_k + e. Rewards are shares of their range here; only the belief is in their own unit. The confidence
sequence is asymptotic, unlike the binary one. Source: bandit-science.md, Part I §J. Shapes: T strata, K arms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bandits import claim
from bandits.draws import normal_points
from bandits.evidence import EVIDENCE_MAX, KNOWN_MIN, PENDING_MAX
from bandits.gate import Z95, Claim, Finding, root_of
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


@dataclass(frozen=True, slots=True, eq=False)
class NormalBelief:
    """The fit, and the strata its claims are tested on, on rewards in [low, low + span]; see `bandits.gate.Belief`.

    `is_level_free`: claims are differences of means, the same at every level.
    """

    fit: NormalFit
    proof: Outcomes
    bottom: float
    span: float
    is_cycle_seen: bool
    is_level_free: bool

    @property
    def rate(self) -> Floats:
        """Mean rewards."""
        return self.bottom + self.span * self.fit.theta

    @property
    def low(self) -> Floats:
        """The lower ends of their intervals, within the range."""
        return self.bottom + self.span * np.clip(self.fit.theta - Z95 * self._sd(), 0.0, 1.0)

    @property
    def high(self) -> Floats:
        """The upper ends, within the range."""
        return self.bottom + self.span * np.clip(self.fit.theta + Z95 * self._sd(), 0.0, 1.0)

    @property
    def drawn(self) -> Floats:
        """Joint draws: normal."""
        points = normal_points(self.fit.theta.size)
        return self.bottom + self.span * (self.fit.theta + points @ root_of(self.fit.theta_cov).T)

    @property
    def steering(self) -> Floats:
        """The same draws: weights follow what is said."""
        return self.drawn

    def noise(self, model: int) -> float:
        """Return the spread of one reward."""
        return self.span * math.sqrt(float(self.fit.variance[model]))

    def ends(self, model: int) -> Floats:
        """Return the mean; if the level matters, the ends of its 99 % interval, and a band before a full cycle."""
        mean = float(self.rate[model])
        if self.is_level_free:
            return np.array([mean])
        reach = claim.LEVEL_Z * self.span * float(self._sd()[model])
        swing = 0.0 if self.is_cycle_seen else claim.LEVEL_BAND * abs(mean)
        return np.array([mean - max(reach, swing), mean + max(reach, swing)])

    def test(self, claims: Sequence[Claim], bar: float) -> list[Finding]:
        """Test the claims on differences within strata."""
        findings = []
        for one in claims:
            seen = difference(self.proof, self.fit, one.k, one.l)
            least = float((one.targets - one.rates).min()) / self.span
            findings.append(Finding(seen.log_evidence(least), one.rates + self.span * seen.upper(bar)))
        return findings

    def _sd(self) -> Floats:
        return np.asarray(np.sqrt(np.diag(self.fit.theta_cov)), np.float64)


def believe(question: Question, known: Outcomes, proof: Outcomes) -> NormalBelief:
    """Fit what is known (T, G); claims are to be tested on `proof` (T, G)."""
    objective, cycle_s = question.objective, question.stop.cycle_s
    return NormalBelief(
        fit_normal(known, question.policy.prior_mean),
        proof,
        objective.low,
        objective.high - objective.low,
        cycle_s is None or question.known_age_s >= cycle_s,
        # Costs and margin of a net value are a difference of means whatever the level.
        objective.kind == "net",
    )
