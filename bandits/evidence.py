"""The gate: a confidence sequence for the difference of two arms' effects, valid however often one looks.

Within a stratum, given both arms' trials and their joint successes, the successes of one arm follow the noncentral
hypergeometric law in theta = beta_k - beta_l: the stratum's level falls out exactly. The law's normaliser is taken
by a double saddlepoint (worst error seen 4.4e-4 nats). Source: bandit-science.md, Part I §B.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# The grid of theta and the mixture's spreads (Part I §B), fixed for the whole experiment: the claim tested moves with
# prices, the mixture must not. Dense around 0, where arms are hard to tell apart; odds up to e^4 apart.
_SPACING = np.linspace(-6.0, 6.0, 121)
GRID: Floats = 0.02 * np.sinh(_SPACING)
MIXTURE_SDS = (0.05, 0.2, 1.0)
# A claim that nothing can contradict, or that nothing could support: finite, so that JSON can carry it.
EVIDENCE_MAX = 1000.0
# In explicit feedback a stratum counts from 95 % known outcomes on, and its pending ones count as the worst case when
# they are more than 1 % (Part I §F).
KNOWN_MIN = 0.95
PENDING_MAX = 0.01


def _log_mixture() -> Floats:
    density = sum(np.exp(-(GRID**2) / (2 * sd**2)) / sd for sd in MIXTURE_SDS)
    weights = np.cosh(_SPACING) * density
    return np.asarray(np.log(weights / weights.sum()), np.float64)


LOG_MIXTURE: Floats = _log_mixture()


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """The two-by-two tables of a pair, one per stratum, each (T,): challenger k's and leader l's trials, successes."""

    trials_k: Floats
    trials_l: Floats
    successes_k: Floats
    successes_l: Floats


def log_likelihood(theta: Floats, tables: Tables) -> Floats:
    """Return the conditional log likelihood (T, G) of effects theta, (G,) or (T, G), but for a constant per stratum.

    A stratum whose successes are none or all says nothing: 0. A single success or a single failure is exact; without
    these two cases sparse strata are biased (.53 for .405 at one request per arm).
    """
    n, m = tables.trials_k, tables.trials_l
    successes = tables.successes_k + tables.successes_l
    failures = n + m - successes
    result = np.zeros((n.size, theta.shape[-1]))
    is_telling = (n > 0) & (m > 0) & (successes > 0) & (failures > 0)
    is_one = is_telling & (successes == 1)
    is_one_less = is_telling & (failures == 1) & ~is_one
    is_many = is_telling & ~is_one & ~is_one_less
    for rows, sign, of_k in (
        (is_one, 1.0, tables.successes_k),
        (is_one_less, -1.0, n - tables.successes_k),
    ):
        if rows.any():
            result[rows] = _single(sign * _rows_of(theta, rows), n[rows], m[rows], of_k[rows])
    if is_many.any():
        rows = is_many
        result[rows] = _saddlepoint(_rows_of(theta, rows), n[rows], m[rows], tables.successes_k[rows], successes[rows])
    return result


def _rows_of(theta: Floats, rows: Bools) -> Floats:
    return theta if theta.ndim == 1 else theta[rows]


def _single(theta: Floats, n: Floats, m: Floats, of_k: Floats) -> Floats:
    """Return the exact log likelihood (T, G) of which arm had the only success.

    Requests of many rows bring fractions: each arm has its part of it. Given to one arm whole, equal arms were refuted
    in every run (two rows a request, a rate of .98, twenty requests a stratum).
    """
    log_n, log_m, part = np.log(n)[:, None], np.log(m)[:, None], of_k[:, None]
    lifted = theta + log_n
    return np.asarray(part * lifted + (1.0 - part) * log_m - np.logaddexp(lifted, log_m), np.float64)


def _saddlepoint(theta: Floats, n: Floats, m: Floats, of_k: Floats, successes: Floats) -> Floats:
    """Return the log likelihood (T, G) by the double saddlepoint; two or more successes and failures in each table."""
    psi = np.exp(theta)
    n, m, of_k, total = n[:, None], m[:, None], of_k[:, None], successes[:, None]
    a = psi * (n + m - total)
    b = psi * (n - total) + (m - total)
    root = np.sqrt(b * b + 4.0 * a * total)
    # The positive root of a x^2 + b x - S; each form where it does not cancel.
    odds_l = np.where(b > 0, 2.0 * total / (b + np.abs(root)), (root - b) / (2.0 * a))
    odds_k = psi * odds_l
    one_k, one_l = 1.0 + odds_k, 1.0 + odds_l
    variance = odds_l * (n * psi / (one_k * one_k) + m / (one_l * one_l))
    return np.asarray(
        of_k * theta + total * np.log(odds_l) - n * np.log(one_k) - m * np.log(one_l) + 0.5 * np.log(variance),
        np.float64,
    )


def log_evidence(tables: Tables, x: float) -> float:
    """Return log E against "beta_k - beta_l >= x", within +-1000.

    x may be chosen at any time, by any rule. The claim is refuted at level alpha when log E >= ln(1 / alpha).
    """
    return float(log_evidences([tables], np.array([x]), [log_likelihood(GRID, tables).sum(axis=0)])[0])


def log_evidences(pairs: Sequence[Tables], x: Floats, grids: Sequence[Floats]) -> Floats:
    """Return log E (N,) of each pair against its own x (N,), given its log likelihood summed on the grid (121,)."""
    # All pairs' strata in one table: numpy's overhead would otherwise be most of a refresh.
    ends = np.cumsum([0, *(pair.trials_k.size for pair in pairs)])
    finite = np.where(np.isfinite(x), x, 0.0)
    at_strata = log_likelihood(np.repeat(finite, np.diff(ends))[:, None], _stacked(pairs))[:, 0]
    found = np.zeros(x.size)
    for number, grid in enumerate(grids):
        at_x = float(at_strata[ends[number] : ends[number + 1]].sum())
        highest = max(at_x, float(np.max(grid[x[number] <= GRID], initial=-np.inf)))
        found[number] = np.clip(_log_mixed(grid) - highest, -EVIDENCE_MAX, EVIDENCE_MAX)
    return np.select([np.isposinf(x), np.isneginf(x)], [EVIDENCE_MAX, 0.0], found)


def _stacked(pairs: Sequence[Tables]) -> Tables:
    fields = ("trials_k", "trials_l", "successes_k", "successes_l")
    return Tables(*(np.concatenate([np.empty(0), *(getattr(pair, name) for pair in pairs)]) for name in fields))


def _log_mixed(grid: Floats) -> float:
    """Return ln sum_i w_i e^{ll_i}; by hand, as scipy's logsumexp takes .3 ms for the same."""
    lifted = LOG_MIXTURE + grid
    top = float(lifted.max())
    return top + float(np.log(np.exp(lifted - top).sum()))


def upper_bound(grid: Floats, bar: float) -> float:
    """Return the smallest grid point x with log E >= bar against "beta_k - beta_l >= x"; inf when there is none.

    Rounded up to the grid, so that the bound is never too low.
    """
    # The highest likelihood from each point upwards.
    highest = np.maximum.accumulate(grid[::-1])[::-1]
    passing = np.flatnonzero(_log_mixed(grid) - highest >= bar)
    return float(GRID[passing[0]]) if passing.size else float("inf")


def tables_of(trials: Floats, successes: Floats, pending: Floats, k: int, l: int) -> Tables:  # noqa: E741 - the source's name
    """Cut the pair's tables out of (T, K) arrays, keeping only strata that are known well enough.

    Pending outcomes above 1 % of an arm's decisions in a stratum count against refuting: as successes of the
    challenger k, as failures of the leader l.
    """
    known = [trials[:, arm] / np.maximum(trials[:, arm] + pending[:, arm], 1.0) for arm in (k, l)]
    rows = (known[0] >= KNOWN_MIN) & (known[1] >= KNOWN_MIN)
    worst = [
        np.where(share[rows] < 1.0 - PENDING_MAX, pending[rows, arm], 0.0)
        for share, arm in zip(known, (k, l), strict=True)
    ]
    return Tables(
        trials_k=trials[rows, k] + worst[0],
        trials_l=trials[rows, l] + worst[1],
        successes_k=successes[rows, k] + worst[0],
        successes_l=successes[rows, l],
    )


@dataclass(slots=True)
class GridCache:
    """Log likelihoods on the grid that need not be computed again; mutable, one per experiment, safe to throw away.

    `kept` maps a pair (k, l) to its tables (T, 4) and their log likelihoods (T, 121). A stratum is computed again
    when any of its four numbers has changed, so that late rewards find their way in.
    """

    kept: dict[tuple[int, int], tuple[Floats, Floats]] = field(default_factory=dict)

    def grids(self, pairs: Sequence[tuple[int, int]], tables: Sequence[Tables]) -> list[Floats]:
        """Return each pair's log likelihood summed over its strata (121,)."""
        cuts = [_Cut.of(some, self.kept.get(pair)) for pair, some in zip(pairs, tables, strict=True)]
        fresh = np.concatenate([np.empty((0, 4)), *(cut.rows[cut.is_fresh] for cut in cuts)])
        found = log_likelihood(GRID, Tables(fresh[:, 0], fresh[:, 1], fresh[:, 2], fresh[:, 3]))
        begin = 0
        for pair, cut in zip(pairs, cuts, strict=True):
            end = begin + int(cut.is_fresh.sum())
            cut.likelihood[cut.is_fresh] = found[begin:end]
            self.kept.pop(pair, None)
            self.kept[pair] = (cut.rows, cut.likelihood)
            begin = end
        # Room for two leaders that change places; 1,344 strata of a pair are 1.3 MB.
        while len(self.kept) > 2 * len(pairs):
            del self.kept[next(iter(self.kept))]
        return [np.asarray(cut.likelihood.sum(axis=0), np.float64) for cut in cuts]


class _Cut(NamedTuple):
    """A pair's tables as rows (T, 4), which of them are fresh (T,), and the likelihoods (T, 121), the old ones set."""

    rows: Floats
    is_fresh: Bools
    likelihood: Floats

    @classmethod
    def of(cls, tables: Tables, kept: tuple[Floats, Floats] | None) -> "_Cut":
        rows = np.stack([tables.trials_k, tables.trials_l, tables.successes_k, tables.successes_l], axis=1)
        is_fresh = np.ones(len(rows), np.bool_)
        if kept is None:
            return cls(rows, is_fresh, np.empty((len(rows), GRID.size)))
        old_rows, likelihood = kept
        common = min(len(rows), len(old_rows))
        is_fresh[:common] = (rows[:common] != old_rows[:common]).any(axis=1)
        if len(rows) != len(likelihood):
            grown = np.empty((len(rows), GRID.size))
            grown[:common] = likelihood[:common]
            likelihood = grown
        return cls(rows, is_fresh, likelihood)
