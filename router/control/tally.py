"""An epoch's sums as arrays, kept from refresh to refresh: only cells that have changed are read again.

A fortnight of quarter hours has 13,440 cells of 10 arms. Taken from a store's cells anew, they were most of a refresh.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bandits.sums import ARMS_PER_SEGMENT, Int64s, cell_arm
from router.ledger import moment_cell
from router.store import FIELDS

Cells = Mapping[tuple[int, int], Mapping[str, int]]

_PLACE: Final = {name: place for place, name in enumerate(FIELDS)}
_ABSENT: Final = dict.fromkeys(FIELDS, 0)
_READ: Final = itemgetter(*FIELDS)
# A sum of pico-dollars may exceed 63 bits: totals are added up in two halves.
_HALF: Final = 32


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """What is counted of an experiment's arms: `blocks` (T,), rising from 0 or later, and `values` (fields, T, G, K),
    in the order of `FIELDS`, of G segments; of one without any. `moments` by the cell that holds them."""

    blocks: Int64s
    values: Int64s
    moments: Mapping[tuple[int, int], int]

    @property
    def segments(self) -> int:
        """How many segments are told apart, at least one."""
        return int(self.values.shape[2])

    def of(self, name: str) -> Int64s:
        """Return a field's counts of all traffic (T, K)."""
        return self._whole(self.values[_PLACE[name]])

    def of_segment(self, name: str, segment: int) -> Int64s:
        """Return a field's counts of one segment (T, K)."""
        return np.asarray(self.values[_PLACE[name], :, segment], np.int64)

    def totals(self, names: Iterable[str], segment: int | None = None) -> list[dict[str, int]]:
        """Return the sums of these fields over all blocks, by arm; of all traffic without a segment."""
        places = [_PLACE[name] for name in names]
        values = self.values[places] if segment is None else self.values[places, :, segment, None]
        high, low = ((part.sum(axis=(1, 2)).T.tolist()) for part in (values >> _HALF, values & (2**_HALF - 1)))
        return [
            {FIELDS[place]: (top << _HALF) + rest for place, top, rest in zip(places, *halves, strict=True)}
            for halves in zip(high, low, strict=True)
        ]

    def moment(self, arm: int, place: int) -> int:
        """Return the sum of an arm's moments for the lambda at this place."""
        _, *where = moment_cell(0, arm, place)
        return self.moments.get((where[0], where[1]), 0)

    def _whole(self, values: Int64s) -> Int64s:
        return np.asarray(values[:, 0] if self.segments == 1 else values.sum(axis=1), np.int64)


@dataclass(slots=True)
class Tally:
    """The cells of one epoch so far. Mutable, safe to throw away; a new one must be given all cells.

    `values` (fields, T, numbers) by block and by the number that stands for an arm in a store's cells. `stamp`: how far
    the store has been read.
    """

    stamp: int = 0
    blocks: Int64s = field(default_factory=lambda: np.empty(0, np.int64))
    numbers: Int64s = field(default_factory=lambda: np.empty(0, np.int64))
    values: Int64s = field(default_factory=lambda: np.zeros((len(FIELDS), 0, 0), np.int64))
    moments: dict[tuple[int, int], int] = field(default_factory=dict)

    def take(self, cells: Cells) -> None:
        """Take over cells, those that have changed or more, in place of what was known of them; absent fields are 0."""
        timed = {key: cell for key, cell in cells.items() if key[1] >= 0}
        self.moments |= {key: cell.get("log_moment", 0) for key, cell in cells.items() if key[1] < 0}
        if not timed:
            return
        keys = _table(timed, 2)
        self._grow(keys[:, 1], keys[:, 0])
        rows, columns = np.searchsorted(self.blocks, keys[:, 1]), np.searchsorted(self.numbers, keys[:, 0])
        self.values[:, rows, columns] = _fields(timed).T

    def counted(self, arms: int, segments: int) -> Counted:
        """Return what is counted of so many arms and segments (0: there are none); it changes with the tally.

        Cells of other segments are left out: no reward of such a decision is taken (router/rewards.py). ValueError for
        an arm that is none of 0..arms - 1.
        """
        segments = max(1, segments)
        places, own = np.divmod(self.numbers, ARMS_PER_SEGMENT)
        is_strange = (self.numbers < 0) | ((places < segments) & (own >= arms))
        if is_strange.any():
            arm = np.where(places < 0, self.numbers, own)[is_strange][0]
            raise ValueError(f"an arm's number must be in 0..{arms - 1}, got {arm}")
        wanted = np.array([cell_arm(arm, segment) for segment in range(segments) for arm in range(arms)], np.int64)
        self._grow(self.blocks, wanted)
        shape = (len(FIELDS), self.blocks.size, segments, arms)
        # Nothing is copied unless there are numbers in between.
        is_all = self.numbers.size == wanted.size
        values = self.values if is_all else self.values[:, :, np.searchsorted(self.numbers, wanted)]
        return Counted(self.blocks, values.reshape(shape), self.moments)

    def _grow(self, blocks: Int64s, numbers: Int64s) -> None:
        """Make room for these blocks and numbers."""
        if np.isin(blocks, self.blocks).all() and np.isin(numbers, self.numbers).all():
            return
        old = self.values
        rows, columns = self.blocks, self.numbers
        self.blocks, self.numbers = np.union1d(rows, blocks), np.union1d(columns, numbers)
        self.values = np.zeros((len(FIELDS), self.blocks.size, self.numbers.size), np.int64)
        where = np.ix_(np.searchsorted(self.blocks, rows), np.searchsorted(self.numbers, columns))
        self.values[:, where[0], where[1]] = old


def _fields(cells: Cells) -> Int64s:
    """Return all fields of the cells (cells, fields)."""
    try:
        return _table(map(_READ, cells.values()), len(FIELDS))
    except KeyError:
        return _table((_READ({**_ABSENT, **cell}) for cell in cells.values()), len(FIELDS))


def _table(rows: Iterable[Iterable[int]], width: int) -> NDArray[np.int64]:
    return np.fromiter(chain.from_iterable(rows), np.int64).reshape(-1, width)
