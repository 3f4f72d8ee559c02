"""How late rewards are, per arm, so that the silence of a young request is not taken for a failure.

For conversions only, where silence means 0 once the window has passed. Posteriors, and so weights, are fed with trials
corrected for what is still to come. The gate is not: it sees rows older than the window alone (`strata.resolve`), for
no estimate of a delay protects a stop (bandit-science.md, Part I §F).

What is needed, integers per (arm, block): `decisions`, `rewards`, `delay_ms` and the 24 `delay_bin_NN`. A reward that is
learned adds to its decision's cell, when it arrives: 1 to `rewards`, its age to `delay_ms`, and 1 to
`delay_bins.FIELDS[bin_of(age_s, window_s)]`. A delay belongs to the arm: with segments, their cells are added up first,
and the law serves every segment's rows.

In a refresh:

    delays = DelaySums.from_cells(cells, arms)                    # the rows of Sums.from_cells(cells, arms)
    law = learn(sums, delays, spans, window_s, law)               # every 5 refreshes; the last law, or None
    trials = law.trials(sums, spans)                              # every refresh; decisions in the posterior's eyes

Two laws are learned: an exponential, by EM, and a product limit on the bins, which follows any shape. The exponential
needs fewer rewards; where the two differ too much it is wrong, and the product limit is used.
Source: bandit-science.md, Part I §F and Part II §2.4. Shapes: T rows, K arms.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bandits.delay_bins import BINS, ENDS, FIELDS
from bandits.delay_exponential import Ages, Cohorts, curve, fit_exponential
from bandits.strata import Spans
from bandits.sums import Int64s, Sums, tables_of

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Where the bins begin and end, as shares of the window (25,).
EDGES: Floats = np.array([0.0, *ENDS])
# The product limit is drawn to the exponential like this many rewards (Part I §F).
PRIOR_REWARDS = 2.0
# What is summed per (arm, block), by the names of a store's cells.
DELAYS = ("delay_ms", *FIELDS)
# The exponential is given up where the two laws differ by more than this at some age (Part I §F). An allowance for
# chance on top (Kolmogorov's 1.36 / sqrt(rewards)) changed the regret in none of four worlds.
GAP_MAX = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class DelaySums:
    """Delays of the rewards so far: `delay_ms` (T, K) added up, and how many rewards fell in each bin (T, K, 24)."""

    delay_ms: Int64s
    bins: Int64s

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit, and negative sums."""
        shape = self.delay_ms.shape
        if len(shape) != 2 or self.bins.shape != (*shape, BINS):
            raise ValueError(f"delays must be (rows, arms) and (rows, arms, {BINS}), got {shape}, {self.bins.shape}")
        for name, field in (("delay_ms", self.delay_ms), ("bins", self.bins)):
            if field.dtype != np.int64:
                raise ValueError(f"{name} must be int64, got {field.dtype}")
            if field.size and field.min() < 0:
                raise ValueError(f"{name} must not be negative, got {field.min()}")

    @classmethod
    def from_cells(
        cls, cells: Mapping[tuple[int, int], Mapping[str, int]], arms: int, blocks: Sequence[int] | None = None
    ) -> Self:
        """Take a store's cells, keyed (arm, block), to a row for each of `blocks`; absent fields count 0.

        Without `blocks` the rows are those of `Sums.from_cells`.
        """
        wanted = sorted({block for _, block in cells}) if blocks is None else blocks
        table = tables_of(cells, DELAYS, arms, wanted)
        return cls(table[0], np.ascontiguousarray(np.moveaxis(table[1:], 0, -1)))

    def followed_by(self, later: Self) -> Self:
        """Return these rows and then the later ones."""
        return type(self)(np.concatenate([self.delay_ms, later.delay_ms]), np.concatenate([self.bins, later.bins]))

    def first(self, rows: int) -> Self:
        """Return the first rows."""
        return type(self)(self.delay_ms[:rows], self.bins[:rows])


@dataclass(frozen=True, slots=True, eq=False)
class DelayLaw:
    """What share of an arm's rewards has arrived at an age.

    `rate` (K,): the exponentials' rates per window. `exponential` and `limit`
    (25, K) are the two laws at `EDGES`, `gap` (K,) the largest difference between them, and `is_limit` (K,) says which
    is used.
    """

    window_s: float
    rate: Floats
    exponential: Floats
    limit: Floats
    gap: Floats
    is_limit: Bools

    @property
    def used(self) -> Floats:
        """The law that is used for each arm, at `EDGES` (25, K); straight in between."""
        return np.where(self.is_limit, self.limit, self.exponential)

    @property
    def mean_s(self) -> Floats:
        """The mean delay of each arm (K,) by the law that is used, of rewards within the window."""
        law = self.used
        return np.asarray((1.0 - np.diff(EDGES) @ (law[1:] + law[:-1]) / 2.0) * self.window_s, np.float64)

    def arrived(self, spans: Spans) -> Floats:
        """Return the share (T, K) of each row's rewards that has arrived: the mean over the ages of its requests.

        It is exactly 1 once the youngest is as old as the window.
        """
        ages, law = Ages.of(spans, self.window_s), self.used
        width = np.diff(EDGES)[:, None]
        slope = np.diff(law, axis=0) / width
        area = np.vstack([np.zeros_like(law[:1]), np.cumsum((law[1:] + law[:-1]) / 2.0 * width, axis=0)])
        share = ages.share[:, None]
        over = _area_until(ages.end, law, slope, area) - _area_until(ages.begin, law, slope, area)
        mean = share * over / (ages.end - ages.begin)[:, None] + (1.0 - share)
        return np.asarray(np.clip(mean, 0.0, 1.0), np.float64)

    def trials(self, sums: Sums, spans: Spans) -> Floats:
        """Return the trials (T, K) that the rewards so far speak for: decisions x what has arrived, at least rewards."""
        decisions = np.maximum(sums.decisions, sums.rewards)
        return np.asarray(np.maximum(decisions * self.arrived(spans), sums.rewards), np.float64)


def _area_until(age: Floats, law: Floats, slope: Floats, area: Floats) -> Floats:
    """Return the area (T, K) under the law up to each age (T,) in 0..1, given it at the edges."""
    below = np.clip(np.searchsorted(EDGES, age, side="right") - 1, 0, BINS - 1)
    step = (age - EDGES[below])[:, None]
    return np.asarray(area[below] + (law[below] + slope[below] * step / 2.0) * step, np.float64)


def learn(sums: Sums, delays: DelaySums, spans: Spans, window_s: float, previous: DelayLaw | None = None) -> DelayLaw:
    """Learn both laws; rows are in order of time. The previous law saves time, and is no part of the answer's meaning.

    Raises ValueError for shapes that do not fit, and for a window that is negative or no number.
    """
    if delays.delay_ms.shape != sums.rewards.shape or spans.ended.shape != sums.rewards.shape[:1]:
        raise ValueError(f"delays {delays.delay_ms.shape}, sums {sums.rewards.shape}, spans {spans.ended.shape} differ")
    if not (math.isfinite(window_s) and window_s >= 0.0):
        raise ValueError(f"a window must be a finite number of seconds of at least 0, got {window_s}")
    arms = sums.rewards.shape[1]
    start = previous.rate if previous is not None and previous.rate.size == arms else None
    decisions = np.maximum(sums.decisions, sums.rewards).astype(np.float64)
    cohorts = Cohorts.of(spans, window_s, decisions, sums.rewards.astype(np.float64))
    rewards = sums.rewards.sum(axis=0).astype(np.float64)
    # A gateway whose clock runs ahead may report more than the window.
    waited = np.minimum(delays.delay_ms.sum(axis=0, dtype=np.float64), rewards * (1e3 * window_s))
    waited = waited / (1e3 * window_s) if window_s > 0.0 else waited
    rate = fit_exponential(cohorts, rewards, waited, previous=start)
    exponential = curve(rate, EDGES)
    limit = product_limit(delays.bins, Ages.of(spans, window_s).ended, exponential)
    gap = np.abs(exponential - limit).max(axis=0)
    return DelayLaw(window_s, rate, exponential, limit, gap, gap > GAP_MAX)


def product_limit(bins: Int64s, ended: Floats, prior: Floats) -> Floats:
    """Return the law (25, K) at `EDGES`, from the window downwards: of all that had come by an age, how much came last.

    Of bins (T, K, 24) only those rows count whose youngest request, `ended` (T,) windows old, could have shown the bin
    (right truncation). `prior` (25, K) is the law it is drawn to.
    """
    is_old = ended >= 1.0
    counts = np.concatenate([bins[is_old].sum(axis=0, keepdims=True), bins[~is_old]]).astype(np.float64)
    has_shown = np.vstack([np.ones((1, BINS)), ended[~is_old][:, None] >= EDGES[1:]])
    came = np.einsum("ti,tki->ik", has_shown, counts) + PRIOR_REWARDS * np.diff(prior, axis=0)
    by_then = np.einsum("ti,tki->ik", has_shown, counts.cumsum(axis=2)) + PRIOR_REWARDS * prior[1:]
    law = np.ones_like(prior)
    law[:-1] = np.cumprod((1.0 - came / by_then)[::-1], axis=0)[::-1]
    # All that came within the first bin came last in it, but for rounding.
    law[0] = 0.0
    return law
