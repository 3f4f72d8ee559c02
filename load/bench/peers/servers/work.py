"""The work that all peers do: ten numbers of a row, a Thompson draw, and a count of rows that the bench reads."""

import mmap
import os
import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# As load.bench.measure's, which the peers' environments can't import.
CLASSES: Final = 10
ROWS_MAX: Final = 32
WAIT_MAX_S: Final = 0.002
# A file with a number for each arm. Only one process writes each, so no lock is needed.
COUNTS: Final = "TURPIN_BENCH_COUNTS"
_NUMBER: Final = struct.Struct("<Q")
ARMS: Final = 2


class Model:
    """A model that costs nothing: it answers the first ten numbers of each row. Mutable: how many rows it was asked."""

    def __init__(self, arm: int = 0) -> None:
        with open(os.environ[COUNTS], "r+b") as file:
            self._counts = mmap.mmap(file.fileno(), ARMS * _NUMBER.size)
        self._at = arm * _NUMBER.size

    def __call__(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Answer some rows."""
        self.count(len(rows))
        return rows[:, :CLASSES]

    def count(self, rows: int) -> None:
        """Count rows that are answered."""
        _NUMBER.pack_into(self._counts, self._at, _NUMBER.unpack_from(self._counts, self._at)[0] + rows)


class Bandit:
    """Thompson sampling over two arms, as it is written by hand: a draw of each arm's Beta, and the larger wins."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng()
        self._wins, self._losses = [1.0] * ARMS, [1.0] * ARMS

    def draw(self) -> int:
        """Return an arm."""
        drawn = [self._rng.beta(*arm) for arm in zip(self._wins, self._losses, strict=True)]
        return drawn.index(max(drawn))
