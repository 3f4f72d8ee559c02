"""What chooses the weights in a simulated world: told what is known, it says how the next requests are shared out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# Sums per (arm, block), as a store gives them.
Cells = Mapping[tuple[int, int], Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class News:
    """What became known since the last turn of rewards of one arm and block: how many, and their steps of 2^-16."""

    arm: int
    block: int
    rewards: int
    reward_q: int


@dataclass(frozen=True, slots=True)
class Turn:
    """How the next requests are shared out: parts of 2^31 per arm, the block they count in, and whether they count.

    `segments`: the parts of each; none: all requests are drawn by `parts`, and counted together.
    """

    parts: tuple[int, ...]
    block: int
    is_learned: bool = True
    segments: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy has decided: who leads, when it stopped (requests), who was retired when, and who leads or serves
    each segment it was told of."""

    leader: int
    stopped_at: int | None = None
    retired: tuple[tuple[int, int], ...] = ()
    segments: tuple[int, ...] = ()


class Policy(Protocol):
    """Chooses weights, refresh after refresh. The first turn comes before the first request."""

    def turn(self, now: int, cells: Cells, news: Sequence[News], costs_usd: Floats) -> Turn:
        """Learn, and share out the next requests; `now` counts those that have been, costs (K,) are the present ones.

        The cells are those that have changed since the last turn.
        """

    def verdict(self) -> Verdict:
        """Say what has been decided so far."""
