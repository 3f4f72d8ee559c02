"""What a worker counts between two flushes, and how it reaches the store exactly once.

A flush whose answer was lost is sent again with the same sequence number and the same content; the store ignores a
sequence it has seen. Counts made meanwhile wait for the next one. Bounded by its cells: experiments × arms × segments × open blocks.

Draws are counted with the weights they were made with. A flush adds to the field `log_moment` what so many draws with
such weights promise (`bandits/sample_ratio.py`): over the whole epoch, one cell per arm and lambda, see `moment_cell`.
Each draw promises what its segment's weights say, so that one sum holds for all segments.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from bandits.sample_ratio import SHARP_BITS, STORED_BITS, log_moments
from bandits.sums import cell_arm
from router.store import Cell, Fields

_CARRIED_BITS = SHARP_BITS - STORED_BITS


def moment_cell(epoch: int, arm: int, place: int) -> Cell:
    """Return the cell of an arm's sum for the lambda at this place: blocks of time count from 0, these from -1 down."""
    return Cell(epoch, arm, -1 - place)


@dataclass(frozen=True, slots=True)
class Flush:
    """One numbered parcel of additive counts."""

    sequence: int
    deltas: dict[Cell, Fields]


class Ledger:
    """Additive counts of one worker. Mutable: the open counts, the parcel under way, its number; draws per (epoch,
    block, segment, weights), and what is left of their moments: less than one stored step per epoch, arm and lambda."""

    def __init__(self) -> None:
        self._open: dict[Cell, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._draws: dict[tuple[int, int, int, tuple[int, ...]], list[int]] = {}
        self._carried: Counter[Cell] = Counter()
        self._sent: Flush | None = None
        self._sequence = 0

    def add(self, cell: Cell, **fields: int) -> None:
        """Count `fields` for this (epoch, arm, block)."""
        counts = self._open[cell]
        for name, value in fields.items():
            counts[name] += value

    def assign(self, epoch: int, block: int, cumulative: tuple[int, ...], arm: int, segment: int = 0) -> None:
        """Count that `arm` was drawn, from these running sums of the arms' parts in the segment."""
        key = (epoch, block, segment, cumulative)
        drawn = self._draws.get(key)
        if drawn is None:
            drawn = self._draws[key] = [0] * len(cumulative)
        drawn[arm] += 1

    def _count_draws(self) -> None:
        """Turn the draws since the last parcel into fields; what is no whole step of a moment waits for the next."""
        for (epoch, block, segment, cumulative), drawn in self._draws.items():
            for arm, count in enumerate(drawn):
                if count:
                    self.add(Cell(epoch, cell_arm(arm, segment), block), assigned=count)
            for arm, moments in enumerate(log_moments(_parts(cumulative))):
                for place, moment in enumerate(moments):
                    self._carry(moment_cell(epoch, arm, place), sum(drawn) * moment)
        self._draws.clear()

    def _carry(self, cell: Cell, moment: int) -> None:
        whole, self._carried[cell] = divmod(self._carried[cell] + moment, 1 << _CARRIED_BITS)
        if whole:
            self.add(cell, log_moment=whole)

    def parcel(self) -> Flush:
        """Return the parcel to send: the unconfirmed one again, else a new one of all that is open (maybe empty)."""
        if self._sent is None:
            self._sequence += 1
            self._count_draws()
            self._sent = Flush(self._sequence, {cell: dict(counts) for cell, counts in self._open.items()})
            self._open.clear()
        return self._sent

    def confirm(self, flush: Flush) -> None:
        """The store has this parcel: forget it."""
        if self._sent is flush:
            self._sent = None


def _parts(cumulative: Sequence[int]) -> list[int]:
    return [high - low for low, high in pairwise((0, *cumulative))]
