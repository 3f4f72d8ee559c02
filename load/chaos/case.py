"""What a case is: a fault with a name, what is to hold under it, and what was found when it was played."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

Figure = int | float | str

FULL: Final = "full"
SHORT: Final = "short"


class Skipped(Exception):
    """The case can't be played on this machine; the message says why."""


@dataclass(slots=True)
class Setting:
    """Where and how large a case is played. Mutable: the generator, and what is said of how far it is."""

    folder: Path
    is_short: bool
    rng: random.Random
    tell: Callable[[str], None]

    def size(self, full: int, short: int) -> int:
        """Return how many there are of something in the form that is played."""
        return short if self.is_short else full


@dataclass(slots=True)
class Findings:
    """What a case found. Mutable: the figures, and which laws did not hold."""

    figures: dict[str, Figure] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def hold(self, is_so: bool, law: str) -> None:
        """Note that a law was broken, unless it holds."""
        if not is_so:
            self.broken.append(law)


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table; `numbers` are those of the failure cases that it plays, `wanted` what is to be found."""

    name: str
    numbers: str
    wanted: str
    play: Callable[[Setting, Findings], Awaitable[None]]
    limit_s: float = 120.0
    # Where no prediction can wait for a quiet machine: only in the full form.
    is_in_short: bool = False


class Row(msgspec.Struct, frozen=True):
    """What was found, as it is written down."""

    name: str
    numbers: str
    wanted: str
    figures: dict[str, Figure]
    broken: list[str]
    took_s: float
    # Where it was played, of which commit, and the load at its end, its own included.
    machine: dict[str, Any]
    skipped: str = ""

    @property
    def holds(self) -> bool:
        """Whether all laws held; a case that was skipped says nothing against them."""
        return not self.broken
