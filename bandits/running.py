"""Sums over strata that are only added at the end: what was computed of the earlier ones is kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Rows computed at a time: a few megabytes at 726 numbers a row.
_ROWS = 1024


@dataclass(slots=True)
class RunningSums:
    """Per arm the rows seen and a function of them summed. Mutable, for one function alone, safe to throw away."""

    kept: dict[int, tuple[Floats, Floats]] = field(default_factory=dict)

    def over(
        self, tables: Mapping[int, Floats], compute: Callable[[Floats], Floats], shape: tuple[int, ...]
    ) -> dict[int, Floats]:
        """Return `compute` summed over each arm's rows (T, 4); it takes rows and returns an array of `shape` per row.

        Where rows that were seen have changed, all are computed again.
        """
        sums: dict[int, Floats] = {}
        fresh: list[Floats] = []
        owners: list[int] = []
        for arm, rows in tables.items():
            seen, total = self.kept.get(arm, (rows[:0], np.zeros(shape)))
            is_prefix = np.array_equal(seen, rows[: len(seen)])
            sums[arm] = total.copy() if is_prefix else np.zeros(shape)
            new = rows[len(seen) :] if is_prefix else rows
            fresh.append(new)
            owners += [arm] * len(new)
        # All arms' rows at once: numpy's overhead would otherwise be most of it.
        stacked = np.concatenate([np.empty((0, 4)), *fresh])
        for start in range(0, len(stacked), _ROWS):
            found = compute(stacked[start : start + _ROWS])
            for arm in tables:
                sums[arm] += found[np.array(owners[start : start + _ROWS]) == arm].sum(axis=0)
        self.kept = {arm: (rows, sums[arm]) for arm, rows in tables.items()}
        return sums
