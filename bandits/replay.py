"""What another policy would have earned on logged decisions: inverse propensity, self-normalised, doubly robust.

Every decision was drawn with a known probability, so a decision that the other policy would have made π/p times as
often speaks for it with that weight. Formulas: bandit-science.md §7; standard errors: A. Owen, Monte Carlo, ch. 9.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]

# Below as much information as this many decisions of its own would give, an interval by the normal law is a guess.
ESS_MIN: Final = 200.0
# What a policy would have done with arms the log never chose is unknown; more than this share is too much to ignore.
UNSUPPORTED_MAX: Final = 0.01
# A gateway's smallest is 2^-31; what is far below is a mistake, and its weight would drown all others.
PROPENSITY_MIN: Final = 1e-12
# Larger rewards would overflow when squared.
REWARD_MAX: Final = 1e100


@dataclass(frozen=True, slots=True, eq=False)
class Everywhere:
    """What the other policy would have done with every arm: `table` (rows, arms), and each decision's `row` (n,)."""

    table: Floats
    row: Int64s


@dataclass(frozen=True, slots=True, eq=False)
class Log:
    """Decisions whose reward is known, each array (n,): the arm chosen, the probability it was chosen with, the
    probability the other policy would have chosen it with, and the reward, in whatever unit.

    `everywhere` makes the doubly robust estimate possible; `segments` gives it a mean per arm and segment; `units`
    says which decisions were drawn together, so that standard errors count units, not requests.
    """

    arms: Int64s
    propensity: Floats
    target: Floats
    reward: Floats
    everywhere: Everywhere | None = None
    segments: Int64s | None = None
    units: Int64s | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit, probabilities that are none, and rewards that are no numbers."""
        fellows = [self.arms, self.propensity, self.target, self.reward, self.segments, self.units]
        fellows += [self.everywhere.row] if self.everywhere is not None else []
        shapes = {one.shape for one in fellows if one is not None}
        if len(shapes) != 1 or self.arms.ndim != 1:
            raise ValueError(f"a log's arrays must be one-dimensional and equally long, got {sorted(shapes)}")
        if not ((self.propensity >= PROPENSITY_MIN) & (self.propensity <= 1)).all():
            raise ValueError(f"the propensity of a decision that was made must be in {PROPENSITY_MIN:g}..1")
        if not ((self.target >= 0) & (self.target <= 1)).all():
            raise ValueError("a target propensity must be in 0..1")
        if not (np.abs(self.reward) <= REWARD_MAX).all():
            raise ValueError(f"a reward must be a number of at most {REWARD_MAX:g}")


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the other policy would have earned per decision, by three formulas; None where a formula can't say.

    `mean` is what was earned, `gain` the best estimate (doubly robust, else self-normalised) less it. `ess` is the
    effective sample size, `clipped` the number of weights cut to `weight_max` (None: none could be). The numbers stand
    even when `refused`, for `reason`.
    """

    n: int
    mean: float | None
    ips: float | None
    ips_se: float | None
    snips: float | None
    snips_se: float | None
    dr: float | None
    dr_se: float | None
    gain: float | None
    gain_se: float | None
    ess: float
    weight_mean: float | None
    weight_max: float | None
    clipped: int
    unsupported: float
    refused: bool
    reason: str


def evaluate(log: Log, *, floor: float | None = None, unsupported: float = 0.0) -> Estimate:
    """Estimate what the log's other policy would have earned per decision.

    Weights π/p are cut at 1/`floor` when the least propensity is known, else left as they are. `unsupported` is the
    share of the policy's own choices for which the log has no counterpart. ValueError for a floor outside (0, 1].

    Standard errors: of ips the sample's (n - 1) over √n; of snips √Σw²(r - snips)² / Σw, by linearisation; of dr the
    sample's over √n of its terms, the arms' means taken as given. With units, all three sum over a unit first.
    """
    if floor is not None and not 0 < floor <= 1:
        raise ValueError(f"floor must be more than 0 and at most 1, got {floor:g}")
    weight_max = None if floor is None else 1.0 / floor
    raw = log.target / log.propensity
    weights = raw if weight_max is None else np.minimum(raw, weight_max)
    ess = _effective(weights, log.units)
    reason = _reason(weights.size, ess, unsupported)
    shared = {
        "n": weights.size,
        "ess": ess,
        "weight_max": weight_max,
        "clipped": int((raw > weights).sum()),
        "unsupported": unsupported,
        "refused": bool(reason),
        "reason": reason,
    }
    return Estimate(**_numbers(log, weights), **shared)  # type: ignore[arg-type]  # each dict has its fields' types


def _numbers(log: Log, weights: Floats) -> dict[str, float | None]:
    names = ("mean", "ips", "ips_se", "snips", "snips_se", "dr", "dr_se", "gain", "gain_se", "weight_mean")
    found: dict[str, float | None] = dict.fromkeys(names)
    if not weights.size:
        return found
    reward = log.reward
    weighted = weights * reward
    mean, ips, weight_mean = float(reward.mean()), float(weighted.mean()), float(weights.mean())
    found |= {"mean": mean, "ips": ips, "weight_mean": weight_mean}
    found["ips_se"] = _spread(weighted - ips, log.units, is_sample=True)
    if weight_mean == 0:
        return found
    snips = float(weighted.sum() / weights.sum())
    terms = weights * (reward - snips) / weight_mean
    found |= {"snips": snips, "snips_se": _spread(terms, log.units, is_sample=False)}
    best = snips
    if log.everywhere is not None:
        doubly = _doubly_robust(log, log.everywhere, weights)
        best = float(doubly.mean())
        terms = doubly - best
        found |= {"dr": best, "dr_se": _spread(terms, log.units, is_sample=True)}
    # Both are estimated from the same decisions: what they share cancels.
    found["gain"] = best - mean
    found["gain_se"] = _spread(terms - (reward - mean), log.units, is_sample=True)
    return found


def _doubly_robust(log: Log, everywhere: Everywhere, weights: Floats) -> Floats:
    """Return q(π) + w (r - q) of every decision, where q is the mean reward of the arm, in its segment if given."""
    arms = everywhere.table.shape[1]
    segments = np.zeros_like(log.arms) if log.segments is None else log.segments
    count = int(segments.max()) + 1
    cell = segments * arms + log.arms
    seen = np.bincount(cell, minlength=count * arms).reshape(count, arms)
    total = np.bincount(cell, log.reward, minlength=count * arms).reshape(count, arms)
    # An arm without a reward in a segment is expected to do there as elsewhere, and one without any as all arms do.
    by_arm = np.divide(total.sum(0), seen.sum(0), out=np.full(arms, log.reward.mean()), where=seen.sum(0) > 0)
    expected = np.divide(total, seen, out=np.broadcast_to(by_arm, (count, arms)).copy(), where=seen > 0)
    by_row = everywhere.table @ expected.T
    result: Floats = by_row[everywhere.row, segments] + weights * (log.reward - expected[segments, log.arms])
    return result


def _spread(terms: Floats, units: Int64s | None, *, is_sample: bool) -> float | None:
    """Return the standard error of the mean of terms that sum to 0; those of a unit count as one. None for fewer than 2.

    `is_sample` divides by one less than the number of units, which makes the variance unbiased.
    """
    sums = terms if units is None else _per_unit(terms, units)
    if is_sample and sums.size < 2:
        return None
    scale = sums.size / (sums.size - 1) if is_sample else 1.0
    return float(np.sqrt(scale * (sums @ sums)) / terms.size)


def _per_unit(terms: Floats, units: Int64s) -> Floats:
    _, place = np.unique(units, return_inverse=True)
    sums: Floats = np.asarray(np.bincount(place, terms), np.float64)
    return sums


def _effective(weights: Floats, units: Int64s | None) -> float:
    """Return (Σw)²/Σw²: how many decisions of the policy's own would say as much."""
    sums = weights if units is None else _per_unit(weights, units)
    largest = sums.max(initial=0.0)
    if largest == 0:
        return 0.0
    # Scaled, so that the square of a large weight does not overflow.
    scaled = sums / largest
    return float(scaled.sum() ** 2 / (scaled @ scaled))


def _reason(n: int, ess: float, unsupported: float) -> str:
    """Say in words why the estimate should not be used; nothing when it may be."""
    if n == 0:
        return "no decision with a known reward is in the log"
    if unsupported > UNSUPPORTED_MAX:
        return (
            f"{unsupported:.1%} of this policy's choices are of arms that had no chance when the log was written: "
            "what they would have earned can't be told"
        )
    if ess < ESS_MIN:
        return (
            f"the log's {n} decisions say as much about this policy as {ess:.1f} of its own would "
            f"(effective sample size); at least {ESS_MIN:g} are needed"
        )
    return ""
