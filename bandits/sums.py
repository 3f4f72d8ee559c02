"""The statistics of an experiment: integer sums per (block, arm), exact and free of order.

Source of units and bounds: bandit-science.md, Part I §I.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]

# Values of a segment key, the rest among them: more would be a context, which a router can't see (design §8).
SEGMENTS_MAX = 16
# Cells of segment g hold arm k under the number k + 256 g: arms may be added, and segment 0 is what it was without.
ARMS_PER_SEGMENT = 256


def cell_arm(arm: int, segment: int) -> int:
    """Return the arm's number in a store's cell for this segment."""
    if not (0 <= arm < ARMS_PER_SEGMENT and 0 <= segment < SEGMENTS_MAX):
        raise ValueError(f"arm must be in 0..255 and segment in 0..{SEGMENTS_MAX - 1}, got {arm} and {segment}")
    return arm + ARMS_PER_SEGMENT * segment


# What is summed per (arm, block), by the names of a store's cells.
SUMMED: Final = ("decisions", "rewards", "reward_q", "reward_q2")
# A reward is stored in steps of 2^-16 of its range: exact squares of 2.1e9 rewards fit into 63 bits (Part I §I).
STEPS = 1 << 16


def quantise(reward: float, low: float, high: float) -> int:
    """Return the reward as whole steps of 2^-16 of its range, 0..65536; raises ValueError outside [low, high]."""
    if not (math.isfinite(reward) and low <= reward <= high):
        raise ValueError(f"a reward must lie in [{low:g}, {high:g}], got {reward}")
    return round((reward - low) / (high - low) * STEPS)


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Sums per row and arm; a row is a stratum of time, and several rows may belong to one block.

    `blocks` (rows,) are block numbers that never fall; the others are (rows, arms): learned decisions, their rewards
    so far, the rewards' steps and squared steps. Rewards may run ahead of decisions, which are flushed later.
    """

    blocks: Int64s
    decisions: Int64s
    rewards: Int64s
    reward_q: Int64s
    reward_q2: Int64s

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit and sums that no rewards in range could give."""
        shape = self.decisions.shape
        if len(shape) != 2 or self.blocks.shape != shape[:1]:
            raise ValueError(f"sums must be (rows, arms) with a block number per row, got {shape}, {self.blocks.shape}")
        for name in ("decisions", "rewards", "reward_q", "reward_q2"):
            field = getattr(self, name)
            if field.shape != shape or field.dtype != np.int64:
                raise ValueError(f"{name} must be int64 of shape {shape}, got {field.dtype} of shape {field.shape}")
            if field.size and field.min() < 0:
                raise ValueError(f"{name} must not be negative, got {field.min()}")
        if self.blocks.size and (np.diff(self.blocks) < 0).any():
            raise ValueError("block numbers must not fall from row to row")
        # Division instead of products, which would overflow where the sums do not.
        if (-(-self.reward_q // STEPS) > self.rewards).any():
            raise ValueError("reward_q exceeds what its number of rewards could give: each is at most 65536")
        if (-(-self.reward_q2 // STEPS) > self.reward_q).any():
            raise ValueError("reward_q2 exceeds what reward_q could give: a square is at most 65536 times its root")

    @classmethod
    def empty(cls, arms: int) -> Self:
        """Return the sums before the first decision."""
        return cls.from_cells({}, arms)

    @classmethod
    def from_cells(
        cls, cells: Mapping[tuple[int, int], Mapping[str, int]], arms: int, blocks: Sequence[int] | None = None
    ) -> Self:
        """Build sums from a store's cells, keyed (arm, block); absent fields count 0, other fields are left alone.

        `blocks`: the rows, rising, among them every block of a cell; None: the cells' own.
        """
        blocks = sorted({block for _, block in cells}) if blocks is None else blocks
        tables = tables_of(cells, SUMMED, arms, blocks)
        return cls(np.array(blocks, np.int64), *tables)


def tables_of(
    cells: Mapping[tuple[int, int], Mapping[str, int]], names: Sequence[str], arms: int, blocks: Sequence[int]
) -> Int64s:
    """Return the fields of these names (names, blocks, arms) of a store's cells, keyed (arm, block); absent ones are 0.

    Cells of other blocks are left out. ValueError for an arm that is none of 0..arms - 1.
    """
    for arm in {arm for arm, _ in cells}:
        if not 0 <= arm < arms:
            raise ValueError(f"an arm's number must be in 0..{arms - 1}, got {arm}")
    row = {block: index * arms for index, block in enumerate(blocks)}
    known = {row[block] + arm: fields for (arm, block), fields in cells.items() if block in row}
    places, found = np.fromiter(known, np.int64, len(known)), known.values()
    table = np.zeros((len(names), len(row) * arms), np.int64)
    # A column at once: an assignment a cell is most of the time otherwise.
    for column, name in zip(table, names, strict=True):
        column[places] = [fields.get(name, 0) for fields in found]
    return table.reshape(len(names), len(row), arms)
