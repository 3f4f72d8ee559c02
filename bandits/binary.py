"""Binary rewards: the logit posterior and its conditional confidence sequence, as a belief (Part I §A to §C)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from bandits import claim, evidence, levels, strata
from bandits.draws import normal_points
from bandits.gate import Z95, Claim, Finding, root_of
from bandits.logistic import sides
from bandits.posterior import LEVEL_SD, LogitFit, fit_logit
from bandits.question import Question

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class LogitBelief:
    """The fits, and the strata its claims are tested on; see `bandits.gate.Belief`.

    Weights follow `near`, where the strata's levels are drawn to each other as far as they are alike. What is said,
    value remaining and claims included, comes from `fit`, which leaves each its own: levels that move together with the
    weights make `near` too sure (a step of 15 % at the moment of a shift: errors of 1.75 of its standard deviations).
    """

    fit: LogitFit
    near: LogitFit
    proof: strata.Outcomes
    cache: evidence.GridCache
    is_cycle_seen: bool

    @property
    def rate(self) -> Floats:
        """Mean rewards."""
        return self.fit.theta

    @property
    def low(self) -> Floats:
        """The lower ends of their intervals."""
        return np.asarray(expit(self.fit.eta - Z95 * _sd(self.fit)), np.float64)

    @property
    def high(self) -> Floats:
        """The upper ends."""
        return np.asarray(expit(self.fit.eta + Z95 * _sd(self.fit)), np.float64)

    @property
    def drawn(self) -> Floats:
        """Joint draws: normal on the logit scale."""
        return _draws(self.fit)

    @property
    def steering(self) -> Floats:
        """Joint draws that weights follow."""
        return _draws(self.near)

    def noise(self, model: int) -> float:
        """Return the spread of a 0 or 1."""
        theta = float(self.fit.theta[model])
        return math.sqrt(theta * (1.0 - theta))

    def ends(self, model: int) -> Floats:
        """Return both ends of the rate's 99 % interval, and the declared band before a full cycle."""
        return claim.level_ends(
            float(self.fit.theta[model]), float(_sd(self.fit)[model]), is_cycle_seen=self.is_cycle_seen
        )

    def test(self, claims: Sequence[Claim], bar: float) -> list[Finding]:
        """Test the claims on the likelihood that is conditional on each stratum's joint successes."""
        pairs = list(dict.fromkeys((one.k, one.l) for one in claims))
        proof = self.proof
        tables = [evidence.tables_of(proof.trials, proof.total, proof.pending, *pair) for pair in pairs]
        grids = self.cache.grids(pairs, tables)
        place = [pairs.index((one.k, one.l)) for one in claims]
        thresholds = self._thresholds(claims)
        found = evidence.log_evidences([tables[at] for at in place], thresholds, [grids[at] for at in place])
        # What was refuted is a bound too; the other one is rounded up to the grid.
        bounds = [
            min(evidence.upper_bound(grids[at], bar), float(x) if log_e >= bar else math.inf)
            for at, x, log_e in zip(place, thresholds, found, strict=True)
        ]
        uppers = self._uppers(claims, np.array(bounds))
        return [Finding(float(log_e), upper) for log_e, upper in zip(found, uppers, strict=True)]

    def _uppers(self, claims: Sequence[Claim], bounds: Floats) -> list[Floats]:
        """Return the highest rates (E,) of each claim's challenger, whose effect is at most its bound (N,)."""
        found = [np.empty(0)] * len(claims)
        for opponent in {one.l for one in claims}:
            own = [number for number, one in enumerate(claims) if one.l == opponent]
            rates = claims[own[0]].rates
            upper = claim.upper_rates(self._base(opponent), self.fit.share, rates, bounds[own])
            for number, one in zip(own, upper, strict=True):
                found[number] = one
        return found

    def _thresholds(self, claims: Sequence[Claim]) -> Floats:
        """Return the effect (N,) that each claim asks for, the smallest over its rates."""
        found = np.zeros(len(claims))
        for opponent in {one.l for one in claims}:
            own = [number for number, one in enumerate(claims) if one.l == opponent]
            targets = np.array([claims[number].targets for number in own])
            found[own] = claim.effect_thresholds(self._base(opponent), self.fit.share, claims[own[0]].rates, targets)
        return found

    def _base(self, model: int) -> Floats:
        """Return the model's logits per stratum (T,)."""
        return np.asarray(self.fit.alpha + self.fit.beta[model], np.float64)


def believe(
    question: Question, known: strata.Outcomes, proof: strata.Outcomes, live: int, cache: evidence.GridCache
) -> LogitBelief:
    """Fit what is known (T, G), merged where strata are small; claims are to be tested on `proof` (T, G)."""
    policy = question.policy
    merged = strata.merge(known, live)
    asked = (merged.trials, merged.total, merged.share, policy.prior_mean, policy.prior_strength)
    fit = fit_logit(*asked)
    spread = levels.spread_of(merged.trials, merged.total, fit)
    near = fit if spread >= LEVEL_SD else fit_logit(*asked, level_sd=spread, start=fit)
    return LogitBelief(fit, near, proof, cache, is_cycle_seen(question))


def _draws(fit: LogitFit) -> Floats:
    return sides(fit.eta + normal_points(fit.eta.size) @ root_of(fit.eta_cov).T)[0]


def _sd(fit: LogitFit) -> Floats:
    return np.asarray(np.sqrt(np.diag(fit.eta_cov)), np.float64)


def is_cycle_seen(question: Question) -> bool:
    """Say whether a declared cycle has been seen whole."""
    cycle_s = question.stop.cycle_s
    return cycle_s is None or question.known_age_s >= cycle_s
