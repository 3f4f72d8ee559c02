"""From sums over time to what may be learned from: what is resolved, what belongs to the last cycle, what is merged."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bandits.rules import Objective
from bandits.sums import STEPS, Int64s, Sums

Floats = NDArray[np.float64]

# A block with fewer requests per arm biases the effects: true .405 reads .41 from 20 a block and arm on (Part I §A).
REQUESTS_PER_ARM_MIN = 20
# More strata than a fortnight of quarter hours are rolled up: one refresh must stay below 20 ms.
ROWS_MAX = 1344


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """What is known of each row and arm, all (rows, arms).

    `trials` decisions with a known outcome, `total` the sum of their rewards and `square` of the rewards' squares as
    shares of the range, `pending` decisions whose reward may still come. `share` (rows,): the row's part of the
    traffic of the last cycle.
    """

    trials: Floats
    total: Floats
    square: Floats
    pending: Floats
    share: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """How long ago each row's first and last decision may have been made, seconds (rows,): `began` >= `ended` >= 0."""

    began: Floats
    ended: Floats


def spans_on_grid(blocks: Int64s, *, block_s: float, open_block: int, open_share: float) -> Spans:
    """Return the spans of blocks that all last `block_s`, `open_share` of the open one having passed."""
    began = (open_block - blocks + open_share) * block_s
    return Spans(np.maximum(began, 0.0), np.maximum(began - block_s, 0.0))


def spans_from(starts_s: Floats, age_s: float) -> Spans:
    """Return the spans of rows that began at these ages of the experiment, each ending where the next begins."""
    began = np.maximum(age_s - starts_s, 0.0)
    # Rows of the same start end together. A block nobody was served in is missing: its neighbour then seems to end
    # later than it did, which errs towards waiting.
    following = np.searchsorted(starts_s, starts_s, side="right")
    ended = np.append(began, 0.0)[following]
    return Spans(began, ended)


def resolve(sums: Sums, objective: Objective, spans: Spans) -> Outcomes:
    """Split decisions into known and pending; `share` is set over all rows (see `in_window`).

    Explicit feedback: what is reported is known; what is not is pending until the window has passed, and then counts
    no more. Conversions: all of a row is known, silence as 0, once its youngest decision is older than the window;
    before, nothing is (Part I §F).
    """
    # Rewards are durable at once and decisions are flushed later: a reward proves its decision.
    decisions = np.maximum(sums.decisions, sums.rewards)
    is_past = (spans.ended >= objective.window_s)[:, None]
    if objective.feedback == "explicit":
        trials = sums.rewards.astype(np.float64)
        known = np.ones_like(is_past)
        pending = np.where(is_past, 0, decisions - sums.rewards).astype(np.float64)
    else:
        trials = np.where(is_past, decisions, 0).astype(np.float64)
        known = is_past
        pending = np.where(is_past, 0, decisions).astype(np.float64)
    total, square = (np.where(known, table, 0.0) for table in earned(sums, trials, objective))
    return Outcomes(trials, total, square, pending, _shares(trials.sum(axis=1), np.ones(trials.shape[0])))


def expect(sums: Sums, objective: Objective, spans: Spans, trials: Floats) -> Outcomes:
    """Return what is believed of conversions whose rewards so far speak for these trials (rows, arms)."""
    is_past = (spans.ended >= objective.window_s)[:, None]
    pending = np.where(is_past, 0, np.maximum(sums.decisions - sums.rewards, 0)).astype(np.float64)
    shares = _shares(trials.sum(axis=1), np.ones(trials.shape[0]))
    return Outcomes(trials, *earned(sums, trials, objective), pending, shares)


def earned(sums: Sums, trials: Floats, objective: Objective) -> tuple[Floats, Floats]:
    """Return the sums (rows, arms) of rewards and of their squares, shares of the range; trials without one earned 0."""
    silent = np.maximum(trials - sums.rewards, 0.0)
    total = sums.reward_q / STEPS + silent * objective.silence
    square = sums.reward_q2 / STEPS**2 + silent * objective.silence**2
    return total, square


def in_window(outcomes: Outcomes, spans: Spans, cycle_s: float | None) -> Outcomes:
    """Weigh rows by their part of the traffic in exactly the last `cycle_s` seconds (None: all).

    Whole rows, and of the one across the window's edge the fraction inside: a partial window made false claims in .09
    to .19 of runs (Part I §0.4). Without traffic in the window all rows count.
    """
    if cycle_s is None:
        return outcomes
    length = np.maximum(spans.began - spans.ended, 1e-9)
    window = np.clip((cycle_s - spans.ended) / length, 0.0, 1.0)
    shares = _shares(outcomes.trials.sum(axis=1), window)
    return Outcomes(outcomes.trials, outcomes.total, outcomes.square, outcomes.pending, shares)


def recent(sums: Sums, spans: Spans, memory_s: float) -> tuple[Sums, Spans]:
    """Return the rows that are not yet older than the memory; of a row across its edge, all."""
    kept = spans.ended < memory_s
    tables = (sums.blocks, sums.decisions, sums.rewards, sums.reward_q, sums.reward_q2)
    return Sums(*(table[kept] for table in tables)), Spans(spans.began[kept], spans.ended[kept])


def pool(outcomes: Outcomes, models: Sequence[int]) -> Outcomes:
    """Add up arms that are one model: (rows, arms) become (rows, models); `models` numbers each arm's."""
    count = max(models) + 1
    if count == len(models):
        return outcomes
    member = np.eye(count)[np.array(models)]
    return Outcomes(
        outcomes.trials @ member,
        outcomes.total @ member,
        outcomes.square @ member,
        outcomes.pending @ member,
        outcomes.share,
    )


def roll_up(outcomes: Outcomes, blocks: Int64s, rows_max: int = ROWS_MAX) -> Outcomes:
    """Join neighbouring blocks, two, four, eight …, until at most `rows_max` rows are left.

    The groups follow from block numbers alone, so that they stay what they were while rows are added.
    """
    shift = 0
    # Block numbers never fall from row to row.
    while np.count_nonzero(np.diff(blocks >> shift, prepend=-1)) > rows_max:
        shift += 1
    if shift == 0:
        return outcomes
    return _joined(outcomes, np.flatnonzero(np.diff(blocks >> shift, prepend=-1)))


def merge(outcomes: Outcomes, live: int) -> Outcomes:
    """Join neighbouring rows until each has 20 known outcomes per live arm on average; for the posterior only.

    The bias of small strata comes from their level, which all arms determine together: hence the sum over the arms,
    and a starved arm makes no stratum longer. Rows without any outcome vanish; at least one row is returned.
    """
    least = REQUESTS_PER_ARM_MIN * max(1, live)
    weight = outcomes.trials.sum(axis=1)
    # Rows that have enough by themselves, up to the first that has not, are strata.
    alone = int(np.append(weight < least, True).argmax())
    starts = list(range(alone))
    gathered = float(least)
    for row, count in enumerate(weight[alone:].tolist(), alone):
        if gathered >= least:
            starts.append(row)
            gathered = 0.0
        gathered += count
    # What is left over at the end is too little for a stratum of its own.
    if len(starts) > 1 and gathered < least:
        starts.pop()
    if not starts:
        empty = np.zeros((1, outcomes.trials.shape[1]))
        return Outcomes(empty, empty, empty, empty, np.ones(1))
    return _joined(outcomes, np.array(starts))


def _joined(outcomes: Outcomes, starts: NDArray[np.intp]) -> Outcomes:
    fields = (outcomes.trials, outcomes.total, outcomes.square, outcomes.pending, outcomes.share)
    return Outcomes(*(np.add.reduceat(field, starts, axis=0) for field in fields))


def _shares(traffic: Floats, window: Floats) -> Floats:
    """Return each row's part of the traffic inside the window; equal parts when there is no traffic at all."""
    for weight in (traffic * window, traffic):
        if weight.sum() > 0:
            return np.asarray(weight / weight.sum(), np.float64)
    return np.full(traffic.size, 1.0 / max(1, traffic.size))
