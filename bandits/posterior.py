"""The live posterior of binary rewards: arms differ by a constant on the logit scale, each stratum has its own level.

logit p_kt = alpha_t + beta_k. A rhythm that lifts all arms together falls out of the comparison.
Source: bandit-science.md, Part I §A. Shapes: T strata, K arms.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bandits.logistic import sides

Floats = NDArray[np.float64]

# Standard deviations of the arms' effects and of the strata's levels around their mean (Part I §A; tau .5 does as well).
TAU = 1.0
LEVEL_SD = 2.0
# The longest step of an effect and of a level, so that a bad start can't overshoot (Part I §A).
STEP_MAX = 1.0
LEVEL_STEP_MAX = 2.0
# Newton doubles the digits each step: 8 steps suffice in practice; the extremes of the tests need up to 40.
STEPS_MAX = 200
TOLERANCE = 1e-10


@dataclass(frozen=True, slots=True, eq=False)
class LogitFit:
    """The posterior's mode and spread.

    `alpha` (T,) levels, `beta` (K,) effects; `theta` (K,) rates standardised over the strata's `share` (T,);
    eta = logit theta is normal with mean `eta` (K,) and covariance `eta_cov` (K, K).
    """

    alpha: Floats
    beta: Floats
    share: Floats
    theta: Floats
    eta: Floats
    eta_cov: Floats


def fit_logit(
    trials: Floats,
    successes: Floats,
    share: Floats,
    prior_mean: float,
    prior_strength: float = 20.0,
    level_sd: float | None = None,
    start: LogitFit | None = None,
) -> LogitFit:
    """Fit trials and successes (T, K), and standardise the rates over share (T,), which sums to 1.

    The mean level mu is the strata's mean level weighted by trials, with `prior_strength` trials at the prior's mean. With
    a `level_sd` the levels lie as near to mu, their own mean: weighted by trials it would pull at the effects where large
    strata have other levels. `start`: a fit that is near, which only saves steps.
    Newton's method on effects and mu together, the levels eliminated (Schur complement).
    """
    weight = trials.sum(axis=1)
    strength = prior_strength
    total = float(weight.sum()) + strength
    prior_level = math.log(prior_mean / (1.0 - prior_mean))
    first = (successes.sum(axis=1) + prior_strength * prior_mean) / (weight + prior_strength)
    fresh = (np.log(first) - np.log1p(-first), np.zeros(trials.shape[1]))
    alpha, beta = fresh if start is None else (start.alpha, start.beta)
    pulled = (LEVEL_SD if level_sd is None else level_sd) ** -2
    if level_sd is not None:
        weight, strength = np.full_like(weight, pulled), prior_strength * prior_mean * (1.0 - prior_mean)
        total = float(weight.sum()) + strength
    for _ in range(STEPS_MAX):
        mu = (float(weight @ alpha) + strength * prior_level) / total
        rate, rest = sides(alpha[:, None] + beta)
        w = trials * rate * rest
        residual = successes - trials * rate
        depth = w.sum(axis=1) + pulled
        pull = residual.sum(axis=1) - (alpha - mu) * pulled
        scaled = w / depth[:, None]
        gradient = residual.sum(axis=0) - beta * TAU**-2 - pull @ scaled
        # Second column: how the effects answer to a unit of mu.
        steps = np.linalg.solve(_hessian(w, scaled), np.stack([gradient, -scaled.sum(axis=0) * pulled], axis=1))
        levels = (np.stack([pull, np.full_like(pull, pulled)], axis=1) - w @ steps) / depth[:, None]
        # mu moves by the mean of the levels' moves, which depend on mu's: one linear equation. Its slope is never
        # flatter than the prior's share.
        slope = max(total - float(weight @ levels[:, 1]), strength)
        shift = float(weight @ levels[:, 0]) / slope
        step = np.clip(steps[:, 0] + shift * steps[:, 1], -STEP_MAX, STEP_MAX)
        level_step = np.clip(levels[:, 0] + shift * levels[:, 1], -LEVEL_STEP_MAX, LEVEL_STEP_MAX)
        beta = beta + step
        alpha = alpha + level_step
        if max(np.abs(step).max(), np.abs(level_step).max(initial=0.0)) < TOLERANCE:
            break
    return _standardise(trials, alpha, beta, share, pulled)


def _hessian(w: Floats, scaled: Floats) -> Floats:
    """Return the effects' information (K, K) after the levels are eliminated."""
    information: Floats = np.diag(w.sum(axis=0) + TAU**-2) - w.T @ scaled
    return information


def _standardise(trials: Floats, alpha: Floats, beta: Floats, share: Floats, pulled: float) -> LogitFit:
    rate, rest = sides(alpha[:, None] + beta)
    spread = rate * rest
    w = trials * spread
    depth = w.sum(axis=1) + pulled
    scaled = w / depth[:, None]
    weighted = share[:, None] * spread
    theta = share @ rate
    # J: how theta answers to the effects; L: what the levels' own uncertainty adds.
    answer = np.diag(weighted.sum(axis=0)) - weighted.T @ scaled
    level = (weighted / depth[:, None]).T @ weighted
    cov = answer @ np.linalg.solve(_hessian(w, scaled), answer.T) + level
    # 1 - theta by its own sum: a rate of 1 - 1e-17 would otherwise divide by zero.
    missed = share @ rest
    slope = theta * missed
    return LogitFit(alpha, beta, share, theta, np.log(theta) - np.log(missed), cov / np.outer(slope, slope))
