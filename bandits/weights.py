"""From beliefs to shares of traffic: floor, caps, exact integer propensities, and the draw itself."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Shares are whole parts of 2^31: a propensity is then a dyadic fraction, exact in every language's double.
PARTS = 1 << 31


def to_parts(weights: Sequence[float] | Floats) -> tuple[int, ...]:
    """Turn weights into whole parts that sum to 2**31 exactly, by largest remainder; a weight of 0 stays 0.

    Raises ValueError for weights that are negative, not finite or all zero.
    """
    shares = np.asarray(weights, np.float64)
    if shares.ndim != 1 or not np.isfinite(shares).all() or (shares < 0).any() or not shares.sum() > 0:
        raise ValueError(f"weights must be finite, not negative and not all zero, got {shares.tolist()}")
    exact = shares / shares.sum() * PARTS
    parts = np.floor(exact).astype(np.int64)
    # Rounding down loses less than one part an arm, and never gains one: the sum before it is within 1e-6 of PARTS.
    missing = PARTS - int(parts.sum())
    order = np.argsort(-(exact - parts), kind="stable")
    parts[order[:missing]] += 1
    return tuple(int(part) for part in parts)


def cumulative(parts: Sequence[int]) -> tuple[int, ...]:
    """Return the running sums of parts, what `choose` bisects."""
    return tuple(accumulate(parts))


def choose(running: Sequence[int], point: int) -> int:
    """Return the arm whose slice of 0..2**31-1 holds the point; an arm of 0 parts is never returned."""
    return bisect_right(running, point)


def race(uniforms: Sequence[float], parts: Sequence[int]) -> int:
    """Return the arm that wins a race: the shortest of exponential times, an arm of more parts running faster.

    `uniforms` are the unit's own, one per arm, in (0, 1]: over units, each arm wins with its share. A unit moves only
    from an arm to one whose parts have grown more. So changed weights move at most 2 d / (1 + d) of the units, where d is
    the total variation distance, the least that must move; with two arms, and when only one arm's odds against the others
    have changed, exactly d. Without memory nothing can do better for all changes (Bavarian et al. 2016).
    """
    best, shortest = 0, math.inf
    for arm, share in enumerate(parts):
        if share:
            time = -math.log(uniforms[arm]) / share
            if time < shortest:
                best, shortest = arm, time
    return best


def floored(weights: Floats, is_live: Bools, floor: float) -> Floats:
    """Give every live arm at least `floor`: w (1 - floor x live) + floor; arms that are not live get 0.

    Weights (arms,) need not sum to 1. Without any weight on a live arm the live arms share equally.
    """
    live = np.where(is_live, weights, 0.0)
    count = int(is_live.sum())
    if count == 0:
        return live
    live = live / live.sum() if live.sum() > 0 else is_live / count
    # More than 1 / count can't be promised to each.
    least = min(floor, 1.0 / count)
    return np.where(is_live, live * (1.0 - least * count) + least, 0.0)


def unfloored(caps: Floats, is_live: Bools, floor: float) -> Floats:
    """Return what shares may be before `floored` so that they are at most the caps (arms,) after it."""
    count = int(is_live.sum())
    least = min(floor, 1.0 / max(1, count))
    spread = max(1.0 - least * count, np.finfo(np.float64).tiny)
    return np.asarray(np.clip((caps - least) / spread, 0.0, 1.0), np.float64)


def capped(weights: Floats, caps: Floats, control: int) -> Floats:
    """Hold each weight below its cap and give the excess to the others in proportion; the result sums to 1.

    Weights and caps are (arms,). When all arms with weight are at their caps the rest goes to control, which is what
    would be served without an experiment. A cap below the floor wins over it.
    """
    shares = weights.copy()
    free = shares > 0
    # Each round fixes at least one arm at its cap, so that there are at most as many rounds as arms.
    for _ in range(shares.size):
        over = free & (shares > caps)
        if not over.any():
            break
        shares[over] = caps[over]
        free &= ~over
        room = 1.0 - shares[~free].sum()
        if free.any():
            shares[free] = shares[free] / shares[free].sum() * room
    rest = 1.0 - shares.sum()
    # Above the noise of adding up.
    if rest > 1e-12:
        shares[control] += rest
    return shares
