"""What gateways would have counted of a simulated world, in the fields of a store's cells."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bandits import delay_bins
from bandits.sample_ratio import SHARP_BITS, STORED_BITS, log_moments
from bandits.sums import ARMS_PER_SEGMENT, SEGMENTS_MAX, cell_arm
from load.simulate.policy import News, Turn
from load.simulate.truth import Rewards
from router.ledger import moment_cell
from router.store import FIELDS

Int64s = NDArray[np.int64]

_MS_PER_S: Final = 1000
_ENDS: Final = np.array(delay_bins.ENDS)


class Counts:
    """Sums as a store holds them. Mutable: `cells` by (arm, block), which of them and what else is new since it was last
    asked for, and the moments of the draws in their finest steps."""

    def __init__(self, arms: int, window: float, *, has_segments: bool = False) -> None:
        self.cells: dict[tuple[int, int], dict[str, int]] = defaultdict(lambda: dict.fromkeys(FIELDS, 0))
        self._numbers = ARMS_PER_SEGMENT * SEGMENTS_MAX if has_segments else arms
        self._window = window
        self._news: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
        self._moments: Counter[tuple[int, int]] = Counter()
        self._changed: set[tuple[int, int]] = set()

    def requests(self, turn: Turn, counts: Int64s, segment: int = 0) -> None:
        """Count that so many requests (K,) were drawn with the turn's weights of the segment, and answered."""
        name = "decisions" if turn.is_learned else "unlearned_decisions"
        for arm in np.flatnonzero(counts).tolist():
            cell = self._cell(cell_arm(arm, segment), turn.block)
            cell[name] += int(counts[arm])
            if turn.is_learned:
                cell["assigned"] += int(counts[arm])
        if turn.is_learned:
            self._promise(turn.segments[segment] if turn.segments else turn.parts, int(counts.sum()))

    def _promise(self, parts: Sequence[int], draws: int) -> None:
        for arm, moments in enumerate(log_moments(parts)):
            for place, moment in enumerate(moments):
                _, *key = moment_cell(0, arm, place)
                self._moments[key[0], key[1]] += draws * moment
                whole = self._moments[key[0], key[1]] >> (SHARP_BITS - STORED_BITS)
                self._cell(key[0], key[1])["log_moment"] = whole

    def immediate(self, block: int, sums: Int64s, segment: int = 0) -> None:
        """Count rewards that came at once: (K, 3) their number, steps and squared steps."""
        for arm in np.flatnonzero(sums[:, 0]).tolist():
            self._add(cell_arm(arm, segment), block, sums[arm].tolist(), 0, {0: int(sums[arm, 0])})

    def delayed(self, here: Rewards) -> None:
        """Count rewards that have arrived, in the cells of their decisions."""
        keys, place = np.unique(here.block * self._numbers + here.arm, return_inverse=True)
        delay = here.at - here.earned
        # Sums of whole numbers below 2^53: exact in doubles.
        q, q2, delay_ms = (
            np.bincount(place, part) for part in (here.q, here.q.astype(np.float64) ** 2, np.floor(delay * _MS_PER_S))
        )
        bins = np.zeros((keys.size, delay_bins.BINS), np.int64)
        np.add.at(bins, (place, self._bins(delay)), 1)
        for row, key in enumerate(keys.tolist()):
            in_bins = {number: int(bins[row, number]) for number in np.flatnonzero(bins[row]).tolist()}
            sums = [int(bins[row].sum()), int(q[row]), int(q2[row])]
            self._add(key % self._numbers, key // self._numbers, sums, int(delay_ms[row]), in_bins)

    def news(self) -> list[News]:
        """Return what is new since this was last asked."""
        news = [News(arm, block, count, q) for (arm, block), (count, q) in self._news.items()]
        self._news.clear()
        return news

    def changed(self) -> dict[tuple[int, int], dict[str, int]]:
        """Return the cells that have changed since this was last asked."""
        changed = {key: self.cells[key] for key in self._changed}
        self._changed.clear()
        return changed

    def _cell(self, arm: int, block: int) -> dict[str, int]:
        """Return a cell to be changed."""
        self._changed.add((arm, block))
        return self.cells[arm, block]

    def _bins(self, delay: NDArray[np.float64]) -> Int64s:
        """Return the bin of each delay, as `delay_bins.bin_of` does."""
        return np.minimum(np.searchsorted(_ENDS, delay / self._window), delay_bins.BINS - 1)

    def _add(self, arm: int, block: int, sums: Sequence[int], delay_ms: int, in_bins: dict[int, int]) -> None:
        cell = self._cell(arm, block)
        for name, number in zip(("rewards", "reward_q", "reward_q2"), sums, strict=True):
            cell[name] += number
        cell["delay_ms"] += delay_ms
        for number, count in in_bins.items():
            name = delay_bins.FIELDS[number]
            cell[name] = cell.get(name, 0) + count
        news = self._news[arm, block]
        news[0] += sums[0]
        news[1] += sums[1]
