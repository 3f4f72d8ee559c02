"""What has to be refuted, in money: the margin, and the difference of effects that would exceed it.

Source: bandit-science.md, Part I §B "threshold from money" and §C.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

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


@dataclass(frozen=True, slots=True, eq=False)
class Money:
    """What a reward of 1 is worth, what a prediction of the leader costs, and one of each challenger (N,)."""

    value_usd: float
    cost_l: float
    cost_k: Floats


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
    of_worth = margin * worth
    return np.where(value > 0, np.maximum(margin * value, MARGIN_OF_REWARD_MIN * of_worth), of_worth)


def solve_level(base: Floats, share: Floats, targets: Floats) -> Floats:
    """Return the shift x (N,) with sum_t share_t expit(base_t + x) = target for each target (N,) in (0, 1)."""
    base, share = base[share > 0], share[share > 0]
    wanted = logit(targets)
    low, high = wanted - base.max(), wanted - base.min()
    x = wanted - share @ base
    for _ in range(SOLVER_STEPS_MAX):
        logits = base[:, None] + x
        rate, rest = share @ expit(logits), share @ expit(-logits)
        slope = share @ (expit(logits) * expit(-logits))
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


def effect_threshold(base: Floats, share: Floats, ends: Floats, money: Money, margin: float) -> Floats:
    """Return for each challenger the smallest x so that "beta_k - beta_l >= x" holds if it is better by the margin.

    `base` (T,) are the leader's logits per stratum, `ends` its rates to allow for.
    +inf: even a perfect challenger is too dear; -inf: it would be better with no reward at all.
    """
    worth = money.value_usd * ends
    value = worth - money.cost_l
    targets = ((value + margin_usd(margin, value, worth))[:, None] + money.cost_k) / money.value_usd
    inside = (targets > 0) & (targets < 1)
    x = np.where(targets >= 1, np.inf, -np.inf)
    if inside.any():
        # At each end the level is shifted so that the leader's rate is that end; the challenger starts from there.
        shift = np.broadcast_to(solve_level(base, share, ends)[:, None], targets.shape)
        x[inside] = solve_level(base, share, targets[inside]) - shift[inside]
    return np.asarray(x.min(axis=0), np.float64)


def certified_gap(base: Floats, share: Floats, ends: Floats, money: Money, bound: Floats) -> float:
    """Return m': no challenger is more than this share of the leader's value better; inf for a leader worth 0.

    `bound` (N,) are upper bounds of the challengers' effects above the leader's; under +inf a challenger may be
    perfect. The gap is a share of |value| at the end of the leader's interval where it is largest.
    """
    value = money.value_usd * ends - money.cost_l
    if bound.size == 0:
        return 0.0
    if (value == 0).any():
        return math.inf
    shift = solve_level(base, share, ends)
    rate = np.einsum("t,tek->ek", share, expit(base[:, None, None] + shift[None, :, None] + bound[None, None, :]))
    gaps = (money.value_usd * rate - money.cost_k - value[:, None]) / np.abs(value)[:, None]
    return max(0.0, float(gaps.max()))
