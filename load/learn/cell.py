"""The table of bars as values: rows, each judged on cells; a cell is a piece of work repeated with other randomness."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from load.learn.judge import Demand
from router.config.document import read_yaml

WORLDS: Final = Path(__file__).parents[1] / "worlds"

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """Work for one job (`load.learn.jobs`): its parameters, JSON-able, and how often it is repeated.

    `runs` is the default, `runs_full` what the bar asks for. A cell that measures time is alone on the machine.
    """

    job: str
    parameters: Mapping[str, Any]
    runs: int
    runs_full: int
    is_alone: bool = False

    @property
    def key(self) -> str:
        """What tells its results from all others'."""
        text = json.dumps([self.job, self.parameters], sort_keys=True)
        return f"{self.job}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def wanted(self, *, is_full: bool) -> int:
        """Return how many repetitions are asked for."""
        return self.runs_full if is_full else self.runs


# What a row is judged on: the answers of each of its cells, in order.
Judge = Callable[[Sequence[Sequence[Answer]]], list[Demand]]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `is_required`: the issue allows no miss. `note` is shown when it is not met."""

    name: str
    bar: str
    cells: tuple[Cell, ...]
    judge: Judge
    is_required: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A bar that a test holds, not a simulation."""

    name: str
    bar: str
    where: str


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows under a heading."""

    heading: str
    rows: tuple[Row | Elsewhere, ...] = field(default=())


def world_of(name: str, **changes: Any) -> dict[str, Any]:
    """Return a world of load/worlds as JSON values, with some of its settings replaced."""
    written: dict[str, Any] = read_yaml((WORLDS / f"{name}.yaml").read_text(encoding="utf-8"))
    return written | changes


def simulated(name: str, runs: int, runs_full: int, *, has_path: bool = False, **changes: Any) -> Cell:
    """Return the cell of a world of load/worlds."""
    return Cell("world", {"world": world_of(name, **changes), "has_path": has_path}, runs, runs_full)
