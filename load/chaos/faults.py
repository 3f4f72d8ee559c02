"""What is done to the bytes of one direction of a connection: scripts of steps, without sockets or clock."""

import random
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Send:
    """Pass these bytes on."""

    piece: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for so long."""

    pause_s: float


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection in order (FIN), both ways."""


@dataclass(frozen=True, slots=True)
class Reset:
    """End the connection as a machine does that forgot it (RST), both ways."""


Step = Send | Pause | Close | Reset


class Fault(Protocol):
    """What becomes of a piece of bytes, when `passed` bytes went before it in this direction of its connection."""

    def steps(self, piece: bytes, passed: int) -> list[Step]:
        """Return what to do, in order; nothing: the piece vanishes."""
        ...


@dataclass(frozen=True, slots=True)
class Through:
    """Nothing is done to it."""

    def steps(self, piece: bytes, passed: int) -> list[Step]:
        """Pass it on."""
        return [Send(piece)]


@dataclass(frozen=True, slots=True)
class Delay:
    """Every piece waits for a random time, evenly between the two; what comes meanwhile waits behind it."""

    rng: random.Random
    min_s: float
    max_s: float

    def steps(self, piece: bytes, passed: int) -> list[Step]:
        """Wait, then pass it on."""
        return [Pause(self.rng.uniform(self.min_s, self.max_s)), Send(piece)]


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection ends after so many bytes, most often within a frame; None: in the middle of the next piece."""

    after_bytes: int | None = None
    is_reset: bool = False

    def steps(self, piece: bytes, passed: int) -> list[Step]:
        """Pass on what is before the cut."""
        room = len(piece) // 2 if self.after_bytes is None else max(0, self.after_bytes - passed)
        if room > len(piece):
            return [Send(piece)]
        ending = Reset() if self.is_reset else Close()
        return [Send(piece[:room]), ending] if room else [ending]


@dataclass(frozen=True, slots=True)
class Blackhole:
    """What is sent vanishes, and the connection stays open: a cable that was pulled."""

    def steps(self, piece: bytes, passed: int) -> list[Step]:
        """Drop it."""
        return []


@dataclass(frozen=True, slots=True)
class Trickle:
    """So many bytes at a time, with a pause after each."""

    size: int
    pause_s: float

    def steps(self, piece: bytes, passed: int) -> list[Step]:
        """Pass it on, bit by bit."""
        found: list[Step] = []
        for start in range(0, len(piece), self.size):
            found += [Send(piece[start : start + self.size]), Pause(self.pause_s)]
        return found


@dataclass(frozen=True, slots=True)
class Garbage:
    """Something else is sent instead, and the connection ends."""

    words: bytes = b"!?\x00garbage\r\n"

    def steps(self, piece: bytes, passed: int) -> list[Step]:
        """Replace it."""
        return [Send(self.words), Close()]


@dataclass(frozen=True, slots=True)
class Sometimes:
    """A fault that a piece meets with this probability, and what becomes of it otherwise."""

    rng: random.Random
    probability: float
    fault: Fault
    otherwise: Fault = Through()

    def steps(self, piece: bytes, passed: int) -> list[Step]:
        """Draw."""
        fault = self.fault if self.rng.random() < self.probability else self.otherwise
        return fault.steps(piece, passed)


@dataclass(slots=True)
class Late:
    """Pieces with these words in them arrive much later; what comes behind them on the same connection, too.

    Mutable: how many were held back.
    """

    words: bytes
    pause_s: float
    held: int = 0

    def steps(self, piece: bytes, passed: int) -> list[Step]:
        """Hold it back, if it is meant."""
        if self.words not in piece:
            return [Send(piece)]
        self.held += 1
        return [Pause(self.pause_s), Send(piece)]
