"""What a worker counts between two flushes, and how it reaches the store exactly once.

A flush whose answer was lost is sent again with the same sequence number and the same content; the store ignores a
sequence it has seen. Counts made meanwhile wait for the next one. Bounded by its cells: experiments × arms × open blocks.
"""

from collections import defaultdict
from dataclasses import dataclass

from router.store import Cell, Fields


@dataclass(frozen=True, slots=True)
class Flush:
    """One numbered parcel of additive counts."""

    sequence: int
    deltas: dict[Cell, Fields]


class Ledger:
    """Additive counts of one worker. Mutable: the open counts, the parcel under way, its number."""

    def __init__(self) -> None:
        self._open: dict[Cell, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._sent: Flush | None = None
        self._sequence = 0

    def add(self, cell: Cell, **fields: int) -> None:
        """Count `fields` for this (epoch, arm, block)."""
        counts = self._open[cell]
        for name, value in fields.items():
            counts[name] += value

    def parcel(self) -> Flush:
        """Return the parcel to send: the unconfirmed one again, else a new one of all that is open (maybe empty)."""
        if self._sent is None:
            self._sequence += 1
            self._sent = Flush(self._sequence, {cell: dict(counts) for cell, counts in self._open.items()})
            self._open.clear()
        return self._sent

    def confirm(self, flush: Flush) -> None:
        """The store has this parcel: forget it."""
        if self._sent is flush:
            self._sent = None
