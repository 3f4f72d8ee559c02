"""What is known of an experiment's rewards at a refresh: what weights may believe, and what may be proved with.

With explicit feedback both are the same. With conversions weights believe the rewards so far to speak for as many
requests as their arm's delays allow (`bandits.delay`); proof is taken from rows older than the window alone, where
nothing is estimated (bandit-science.md, Part I §F).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bandits import strata
from bandits.delay import Bools, DelayLaw, DelaySums, Floats, learn
from bandits.question import Question
from bandits.strata import Outcomes, Spans
from bandits.sums import Sums

# Delays of a block are read no more when it is so many windows old: none is learned after one, and clocks differ by less
# than another.
CLOSED_WINDOWS = 2.0
# A law is learned anew at every fifth refresh (Part II §2.4), and before, when there are so many times the rewards.
REFRESHES = 5
GROWTH = 1.1


# Gives the delays of some blocks, a row for each.
Read = Callable[[Sequence[int]], DelaySums]


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Outcomes (rows, arms) for the weights and for claims; one object where they are the same."""

    believed: Outcomes
    proof: Outcomes


def known_of(question: Question, rows_max: int = strata.ROWS_MAX) -> Known:
    """Split the question's sums into what is known and what is not, each row with its share of the last cycle.

    Neighbouring blocks are joined until at most `rows_max` rows are left.
    """
    sums, spans, objective, cycle_s = question.sums, spans_of(question), question.objective, question.stop.cycle_s
    if question.policy.mode == "always_on":
        sums, spans = strata.recent(sums, spans, question.policy.memory_s)
    known = strata.resolve(sums, objective, spans)
    if objective.feedback == "explicit":
        believed = strata.roll_up(strata.in_window(known, spans, cycle_s), sums.blocks, rows_max)
        return Known(believed, believed)
    # The last cycle that is known whole ended a window ago.
    ripe = Spans(spans.began - objective.window_s, spans.ended - objective.window_s)
    proof = strata.roll_up(strata.in_window(known, ripe, cycle_s), sums.blocks, rows_max)
    if question.law is None:
        return Known(proof, proof)
    expected = strata.expect(sums, objective, spans, question.law.trials(sums, spans))
    return Known(strata.roll_up(strata.in_window(expected, spans, cycle_s), sums.blocks, rows_max), proof)


def spans_of(question: Question) -> Spans:
    """Return how long ago each row's decisions were made."""
    if question.starts_s is not None:
        return strata.spans_from(question.starts_s, question.age_s)
    return strata.spans_on_grid(
        question.sums.blocks,
        block_s=question.policy.block_s,
        open_block=question.open_block,
        open_share=question.open_share,
    )


@dataclass(slots=True)
class LawCache:
    """The law of an experiment's delays, learned now and then. Mutable, one per experiment, safe to throw away.

    `rewards` and `refreshes`: how many rewards the law was learned from, and how often it was asked for since. `closed`:
    the delays of the first `blocks`, which are too old to get more.
    """

    law: DelayLaw | None = None
    rewards: int = 0
    refreshes: int = 0
    blocks: tuple[int, ...] = ()
    closed: DelaySums | None = None

    def law_of(self, sums: Sums, spans: Spans, window_s: float, read: Read) -> DelayLaw:
        """Return the law; `read` gives the delays of some blocks of `sums` when it is learned anew."""
        rewards = int(sums.rewards.sum())
        arms = sums.rewards.shape[1]
        self.refreshes += 1
        is_fit = self.law is not None and self.law.window_s == window_s and self.law.gap.size == arms
        # Rewards that became fewer: another experiment, or forgotten rows.
        is_near = self.rewards <= rewards <= GROWTH * self.rewards
        if self.law is None or not (is_fit and is_near and self.refreshes < REFRESHES):
            delays = self._delays(tuple(sums.blocks.tolist()), spans, window_s, read)
            self.law = learn(sums, delays, spans, window_s, self.law if is_fit else None)
            self.rewards, self.refreshes = rewards, 0
        return self.law

    def _delays(self, blocks: tuple[int, ...], spans: Spans, window_s: float, read: Read) -> DelaySums:
        """Read the delays of all blocks but those that are closed."""
        known = len(self.blocks)
        if self.closed is None or blocks[:known] != self.blocks:
            delays = read(blocks)
        else:
            delays = self.closed.followed_by(read(blocks[known:]))
        count = int((spans.ended >= CLOSED_WINDOWS * window_s).sum())
        self.blocks, self.closed = blocks[:count], delays.first(count)
        return delays


@dataclass(frozen=True, slots=True, eq=False)
class Delays:
    """What is thought of the arms' delays (K,): the mean within the window, the share of the rewards of all decisions
    so far that has arrived, and how far the two laws are apart. `is_limit`: the product limit is used."""

    mean_s: Floats
    arrived: Floats
    gap: Floats
    is_limit: Bools


def delays_of(question: Question) -> Delays | None:
    """Return what the question's law says; None without one."""
    law, sums = question.law, question.sums
    if law is None:
        return None
    decisions = np.maximum(sums.decisions, sums.rewards).astype(np.float64)
    total, there = decisions.sum(axis=0), (decisions * law.arrived(spans_of(question))).sum(axis=0)
    arrived = np.divide(there, total, out=np.ones_like(total), where=total > 0.0)
    return Delays(law.mean_s, arrived, law.gap, law.is_limit)
