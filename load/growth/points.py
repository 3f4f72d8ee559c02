"""Where the cost is measured: one thing is varied at a time, all else stays at the base."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

# What is in flight at the gateway together: sixteen of 4 MB.
_IN_FLIGHT_BYTES: Final = 64 << 20
_IN_FLIGHT_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Point:
    """One gateway and its load. `size_bytes` is of one request's input; `connections` are open, eight of them are used;
    `batch_rows_max` is how many requests of one row may leave together; one experiment of all gets the requests."""

    arms: int = 2
    experiments: int = 1
    size_bytes: int = 1 << 10
    connections: int = 8
    batch_rows_max: int = 32

    @property
    def in_flight(self) -> int:
        """How many requests are in flight all the time, fewer of large ones."""
        return max(2, min(_IN_FLIGHT_MAX, _IN_FLIGHT_BYTES // self.size_bytes))


BASE: Final = Point()
AXES: Final[dict[str, tuple[int, ...]]] = {
    "arms": (2, 10, 50),
    "experiments": (1, 10, 100, 1_000),
    "size_bytes": (1 << 10, 16 << 10, 256 << 10, 4 << 20, 16 << 20),
    "connections": (8, 100, 1_000, 5_000),
    "batch_rows_max": (1, 4, 16, 32, 64),
}


def points() -> Iterator[tuple[str, int, Point]]:
    """Yield each axis with its values."""
    for axis, values in AXES.items():
        for value in values:
            yield axis, value, replace(BASE, **{axis: value})
