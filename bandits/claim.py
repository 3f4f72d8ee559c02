"""What has to be refuted: the margin, and the difference of effects that would exceed it.

Source: bandit-science.md, Part I §B "threshold from money" and §C.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from bandits.logistic import sides

Floats = NDArray[np.float64]

# The margin asks for about the same number of requests at every rate; .012 gives 5 % at a rate of 5 % (Part I §C).
MARGIN_PER_NOISE = 0.012
MARGIN_MAX = 0.05
# The margin in money is never below this part of the margin of the reward alone, so that a leader that earns next to
# nothing does not ask for the impossible (Part I §C; not simulated there).
MARGIN_OF_REWARD_MIN = 0.2
# 99 % two-sided: the level at which the leader's rate is taken at both ends.
LEVEL_Z = 2.5758
# How far the level may swing over a cycle that has not been seen whole (Part I §B).
LEVEL_BAND = 0.6
# The solver's bracket is exact and Newton's steps are safeguarded by halving it; 60 halvings are a double's digits.
SOLVER_STEPS_MAX = 60


def margin_of(noise: float, mean: float, delta: float, declared: float | None) -> float:
    """Return the margin as a share: the declared one, or .012 x noise / mean within [delta, 5 %]."""
    if declared is not None:
        return declared
    wanted = MARGIN_PER_NOISE * noise / mean if mean > 0 else MARGIN_MAX
    return min(max(wanted, delta), max(MARGIN_MAX, delta))


def bar_log(arms: int, alpha: float) -> float:
    """Return what log E must reach: all challengers the experiment has ever had share alpha (Part I §B: K0 - 1)."""
    return math.log(max(1, arms - 1) / alpha)


def margin_usd(margin: float, value: Floats, worth: Floats) -> Floats:
    """Return the margin in money for a leader of this value per prediction (net) and worth (its reward alone)."""
    of_worth = margin * np.abs(worth)
    return np.where(value > 0, np.maximum(margin * value, MARGIN_OF_REWARD_MIN * of_worth), of_worth)


def solve_level(base: Floats, share: Floats, targets: Floats) -> Floats:
    """Return the shift x (N,) with sum_t share_t expit(base_t + x) = target for each target (N,) in (0, 1)."""
    base, share = base[share > 0], share[share > 0]
    wanted = logit(targets)
    low, high = wanted - base.max(), wanted - base.min()
    x = wanted - share @ base
    for _ in range(SOLVER_STEPS_MAX):
        rates, rests = sides(base[:, None] + x)
        rate, rest, slope = share @ rates, share @ rests, share @ (rates * rests)
        gap = np.log(rate) - np.log(rest) - wanted
        low, high = np.where(gap < 0, x, low), np.where(gap > 0, x, high)
        newton = x - gap * rate * rest / slope
        middle = (low + high) / 2
        following = np.where((newton >= low) & (newton <= high), newton, middle)
        if np.abs(following - x).max(initial=0.0) < 1e-12:
            return following
        x = following
    return x


def level_ends(theta: float, sd: float, *, is_cycle_seen: bool) -> Floats:
    """Return the leader's rates at which a claim must hold: both ends of its 99 % interval, wider before a full cycle."""
    centre = float(logit(theta))
    ends = expit(np.array([centre - LEVEL_Z * sd, centre + LEVEL_Z * sd]))
    if not is_cycle_seen:
        ends = np.concatenate([ends, [theta / (1 + LEVEL_BAND), theta * (1 + LEVEL_BAND)]])
    # A rate is a probability; beyond the last double below 1 its logit would be infinite.
    return np.clip(ends, 1e-300, 1.0 - 1e-12)


def effect_thresholds(base: Floats, share: Floats, ends: Floats, targets: Floats) -> Floats:
    """Return for each challenger the smallest x (N,) so that "beta_k - beta_l >= x" holds if it reaches its target.

    `base` (T,) are the opponent's logits per stratum, `ends` (E,) its rates to allow for, `targets` (N, E) the
    challengers' rates at each. +inf: no rate is high enough; -inf: any is.
    """
    inside = (targets > 0) & (targets < 1)
    x = np.where(targets >= 1, np.inf, -np.inf)
    if inside.any():
        # At each end the level is shifted so that the opponent's rate is that end; the challenger starts from there.
        shift = np.broadcast_to(solve_level(base, share, ends), targets.shape)
        x[inside] = solve_level(base, share, targets[inside]) - shift[inside]
    return np.asarray(x.min(axis=1, initial=np.inf), np.float64)


def upper_rates(base: Floats, share: Floats, ends: Floats, bounds: Floats) -> Floats:
    """Return the highest rates (N, E) of challengers whose effects are at most `bounds` (N,) above the opponent's.

    Under +inf a challenger may be perfect.
    """
    shift = solve_level(base, share, ends)
    logits = base + shift[:, None] + bounds[:, None, None]
    return np.asarray(sides(logits)[0] @ share, np.float64)
