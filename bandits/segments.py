"""Arms whose effects differ by segment: one posterior over all segments, each borrowing from the others what they share.

logit p = alpha + beta: a level alpha for each (stratum, segment), effects (beta_k1 .. beta_kG) ~ N(0, tau^2 11' + sg^2 I)
for each arm. The spread sg between segments is chosen by its marginal likelihood: without interaction it is small and
all segments learn together, with it each goes its own way. For binary rewards.

What is needed: the integers of `bandits.sums` per (arm, block, segment), and from them one `strata.Outcomes` a segment,
merged as for the one posterior (`strata.merge`). A store's cell has no segment;
`sums.cell_arm` folds it into the arm.

In a refresh: `fit = refresh(outcomes, prior_mean, prior_strength, fit)`; `fit.segments[g]` gives each segment's weights,
`fit.overall` what is shown and stopped on. The gate of the whole runs on the strata of all segments one after another,
(block, segment) each, because traffic is split differently in each; a segment's own gate on its own strata. Where they
lead is decided in `bandits.following`.
Source: bandit-science.md, Part I §G. Shapes: G segments, K arms, R rows of all segments together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bandits.logistic import sides
from bandits.posterior import LEVEL_SD, LEVEL_STEP_MAX, STEP_MAX, STEPS_MAX, TAU, TOLERANCE, LogitFit
from bandits.strata import Outcomes
from bandits.sums import SEGMENTS_MAX

Floats = NDArray[np.float64]

# The spreads sg between segments that are compared, how often, and the first (Part I §G).
SPREADS = (0.01, 0.03, 0.1, 0.3)
REFRESHES_PER_CHOICE = 10


@dataclass(frozen=True, slots=True, eq=False)
class SegmentFit:
    """The posterior: effects `beta` (G, K), and what follows for each segment and for all traffic.

    `overall` has the strata of all segments one after another, at the segments' shares of the traffic; its `beta` is
    the segments' mean, while rates and covariance are those of the segments' own effects. `spread` is the sg of this
    fit, `log_marginal` its marginal likelihood but for a constant, `refreshes` how many fits came before.
    """

    beta: Floats
    segments: tuple[LogitFit, ...]
    overall: LogitFit
    spread: float
    log_marginal: float
    refreshes: int = 0


def joined(outcomes: Sequence[Outcomes]) -> Outcomes:
    """Return the strata of all segments one after another, each segment weighing as much as its traffic."""
    traffic = _shares(np.array([each.trials.sum() for each in outcomes]))
    return Outcomes(
        trials=np.concatenate([each.trials for each in outcomes]),
        total=np.concatenate([each.total for each in outcomes]),
        square=np.concatenate([each.square for each in outcomes]),
        pending=np.concatenate([each.pending for each in outcomes]),
        share=np.concatenate([each.share * part for each, part in zip(outcomes, traffic, strict=True)]),
    )


def refresh(
    outcomes: Sequence[Outcomes], prior_mean: float, prior_strength: float, previous: SegmentFit | None
) -> SegmentFit:
    """Fit again, from the previous fit; every tenth time, and at the first, the spread is chosen anew."""
    table = _Table.of(outcomes)
    refreshes, start = 0, _Start.cold(table, prior_mean, prior_strength)
    if previous is not None and previous.beta.shape == start.beta.shape:
        refreshes = previous.refreshes + 1
        has_same_rows = previous.overall.alpha.size == start.alpha.size
        start = _Start(previous.overall.alpha if has_same_rows else start.alpha, previous.beta)
        if refreshes % REFRESHES_PER_CHOICE:
            return replace(_fit(table, previous.spread, prior_mean, prior_strength, start), refreshes=refreshes)
    best = _fit(table, SPREADS[0], prior_mean, prior_strength, start)
    last = best
    for spread in SPREADS[1:]:
        last = _fit(table, spread, prior_mean, prior_strength, _Start(last.overall.alpha, last.beta))
        best = last if last.log_marginal > best.log_marginal else best
    return replace(best, refreshes=refreshes)


def fit_segments(
    outcomes: Sequence[Outcomes], spread: float, prior_mean: float, prior_strength: float = 20.0
) -> SegmentFit:
    """Fit the outcomes of each segment with this spread sg; each segment's shares must sum to 1."""
    table = _Table.of(outcomes)
    return _fit(table, spread, prior_mean, prior_strength, _Start.cold(table, prior_mean, prior_strength))


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """The rows of all segments one after another: `first` (G,) is each segment's first row, `of_row` (R,) a row's segment."""

    trials: Floats
    successes: Floats
    share: Floats
    first: NDArray[np.intp]
    of_row: NDArray[np.intp]

    @classmethod
    def of(cls, outcomes: Sequence[Outcomes]) -> "_Table":
        if not 1 <= len(outcomes) <= SEGMENTS_MAX:
            raise ValueError(f"there must be 1 to {SEGMENTS_MAX} segments, got {len(outcomes)}")
        rows = np.array([each.trials.shape[0] for each in outcomes])
        arms = {each.trials.shape[1] for each in outcomes}
        if not rows.all() or len(arms) > 1:
            raise ValueError(f"each segment needs a row and the same arms, got rows {rows.tolist()}, arms {arms}")
        return cls(
            np.concatenate([each.trials for each in outcomes]),
            np.concatenate([each.total for each in outcomes]),
            np.concatenate([each.share for each in outcomes]),
            np.cumsum(rows) - rows,
            np.repeat(np.arange(len(outcomes)), rows),
        )

    def by_segment(self, field: Floats) -> Floats:
        """Add up the rows of each segment: (R,) to (G,), (R, K) to (G, K)."""
        return np.asarray(np.add.reduceat(field, self.first, axis=0), np.float64)

    def products(self, left: Floats, right: Floats) -> Floats:
        """Return left' right of each segment's rows (G, K, K)."""
        ends = [*self.first[1:], self.of_row.size]
        return np.stack([left[a:b].T @ right[a:b] for a, b in zip(self.first, ends, strict=True)])


@dataclass(frozen=True, slots=True, eq=False)
class _Curvature:
    """How sharply the rows know levels and effects: `w` (R, K), `depth` (R,), w / depth, and the information (G, K, K)."""

    w: Floats
    depth: Floats
    scaled: Floats
    information: Floats

    @classmethod
    def at(cls, table: _Table, spread: Floats) -> "_Curvature":
        """Return the curvature where p (1 - p) of the rows is `spread` (R, K)."""
        w = table.trials * spread
        depth = w.sum(axis=1) + LEVEL_SD**-2
        scaled = w / depth[:, None]
        information = -table.products(w, scaled)
        diagonal = np.arange(w.shape[1])
        information[:, diagonal, diagonal] += table.by_segment(w)
        return cls(w, depth, scaled, information)


@dataclass(frozen=True, slots=True, eq=False)
class _Start:
    """Where Newton's method begins: levels (R,) and effects (G, K)."""

    alpha: Floats
    beta: Floats

    @classmethod
    def cold(cls, table: _Table, prior_mean: float, strength: float) -> "_Start":
        """Begin at each row's own rate, drawn to the prior's, and no effects."""
        rate = (table.successes.sum(axis=1) + strength * prior_mean) / (table.trials.sum(axis=1) + strength)
        return cls(np.log(rate) - np.log1p(-rate), np.zeros((table.first.size, table.trials.shape[1])))


def _precision(segments: int, spread: float) -> Floats:
    """Return the inverse of tau^2 11' + sg^2 I (G, G)."""
    shared = TAU**2 / (spread**2 + segments * TAU**2)
    return np.asarray((np.eye(segments) - shared) / spread**2, np.float64)


def _with_prior(blocks: Floats, precision: Floats) -> Floats:
    """Return the matrix (G K, G K) of blocks (G, K, K) on its diagonal, plus the prior's precision (G, G) of each arm."""
    segments, arms = blocks.shape[:2]
    each, arm = np.arange(segments), np.arange(arms)
    whole = np.zeros((segments, arms, segments, arms))
    whole[:, arm, :, arm] = precision
    whole[each, :, each, :] += blocks
    return whole.reshape(segments * arms, -1)


def _fit(table: _Table, spread: float, prior_mean: float, strength: float, start: _Start) -> SegmentFit:
    """Newton's method on effects and each segment's mean level together, the levels eliminated; as in `posterior`."""
    arms, segments = table.trials.shape[1], table.first.size
    weight = table.trials.sum(axis=1)
    total = table.by_segment(weight) + strength
    prior_level = math.log(prior_mean / (1.0 - prior_mean))
    alpha, beta = start.alpha, start.beta
    precision = _precision(segments, spread)
    mu = np.zeros(segments)
    for _ in range(STEPS_MAX):
        mu = (table.by_segment(weight * alpha) + strength * prior_level) / total
        rate, rest = sides(alpha[:, None] + beta[table.of_row])
        residual = table.successes - table.trials * rate
        known = _Curvature.at(table, rate * rest)
        pull = residual.sum(axis=1) - (alpha - mu[table.of_row]) * LEVEL_SD**-2
        gradient = table.by_segment(residual - pull[:, None] * known.scaled) - precision @ beta
        # A segment's mean level follows its levels, which follow it: shift = own - slope . step (never flatter than
        # the prior's share), and the effects feel it by `lever`.
        flat = np.maximum(total - table.by_segment(weight / known.depth) * LEVEL_SD**-2, strength)
        own = table.by_segment(weight * pull / known.depth) / flat
        slope = table.by_segment(weight[:, None] * known.scaled) / flat[:, None]
        lever = table.by_segment(known.scaled) * LEVEL_SD**-2
        blocks = known.information - lever[:, :, None] * slope[:, None, :]
        step = np.linalg.solve(_with_prior(blocks, precision), (gradient - lever * own[:, None]).ravel())
        step = step.reshape(segments, arms) * min(1.0, STEP_MAX / max(np.abs(step).max(), 1e-300))
        shift = own - (slope * step).sum(axis=1)
        pull = pull + shift[table.of_row] * LEVEL_SD**-2 - (known.w * step[table.of_row]).sum(axis=1)
        level_step = np.clip(pull / known.depth, -LEVEL_STEP_MAX, LEVEL_STEP_MAX)
        alpha, beta = alpha + level_step, beta + step
        if max(np.abs(step).max(), np.abs(level_step).max()) < TOLERANCE:
            break
    return _summarise(table, alpha, beta, mu, spread)


def _summarise(table: _Table, alpha: Floats, beta: Floats, mu: Floats, spread: float) -> SegmentFit:
    """Return what the mode and its curvature say; theta and its covariance as in `posterior`."""
    segments, arms = beta.shape
    precision = _precision(segments, spread)
    logits = alpha[:, None] + beta[table.of_row]
    rate, rest = sides(logits)
    known = _Curvature.at(table, rate * rest)
    information = _with_prior(known.information, precision)
    cov = np.asarray(np.linalg.inv(information), np.float64)
    weighted = table.share[:, None] * (rate * rest)
    # How theta answers to its segment's effects, and what the levels' own error adds.
    answer = -table.products(weighted, known.scaled)
    answer[:, np.arange(arms), np.arange(arms)] += table.by_segment(weighted)
    level = table.products(weighted / known.depth[:, None], weighted)
    theta, missed = (table.by_segment(table.share[:, None] * side) for side in (rate, rest))
    blocks = cov.reshape(segments, arms, segments, arms)
    levels = np.split(alpha, table.first[1:])
    shares = np.split(table.share, table.first[1:])
    each = tuple(
        _fit_of(
            levels[g], beta[g], shares[g], theta[g], missed[g], answer[g] @ blocks[g, :, g] @ answer[g].T + level[g]
        )
        for g in range(segments)
    )
    traffic = _shares(table.by_segment(table.trials.sum(axis=1)))
    across = np.concatenate(list(traffic[:, None, None] * answer), axis=1)
    whole = across @ cov @ across.T + np.tensordot(traffic**2, level, axes=1)
    overall = _fit_of(
        alpha, traffic @ beta, table.share * traffic[table.of_row], traffic @ theta, traffic @ missed, whole
    )
    log_likelihood = (table.successes * logits - table.trials * np.logaddexp(0.0, logits)).sum()
    log_prior = -0.5 * (((alpha - mu[table.of_row]) / LEVEL_SD) ** 2).sum() - 0.5 * (beta * (precision @ beta)).sum()
    # Laplace: the prior's constant against the volume around the mode.
    volume = np.linalg.slogdet(information)[1] + np.log(known.depth).sum()
    log_marginal = log_likelihood + log_prior + 0.5 * (arms * np.linalg.slogdet(precision)[1] - volume)
    return SegmentFit(beta, each, overall, spread, float(log_marginal))


def _fit_of(alpha: Floats, beta: Floats, share: Floats, theta: Floats, rest: Floats, cov: Floats) -> LogitFit:
    """Carry a covariance of theta to eta; `rest` is 1 - theta without cancellation."""
    slope = theta * rest
    return LogitFit(alpha, beta, share, theta, np.log(theta) - np.log(rest), cov / np.outer(slope, slope))


def _shares(traffic: Floats) -> Floats:
    """Return each segment's part of the traffic (G,); equal parts without any."""
    if traffic.sum() > 0:
        return np.asarray(traffic / traffic.sum(), np.float64)
    return np.full(traffic.size, 1.0 / traffic.size)
