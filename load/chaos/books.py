"""What clients write down of their rewards: a file each, a line for every answer, written before the next is sent.

From these files alone follows what the store must hold. Nothing of them comes from the gateway but its answers.
"""

import base64
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

Outcome = Literal["acknowledged", "refused", "open"]

# The decision token as docs say it is laid out (router/decisions.py): read here by hand, as anybody can without a key.
_BODY: Final = struct.Struct(">BBBBQHIIIQI16s")
# Modes of decisions that are learned from: `EXPERIMENT` and `OBSERVE`.
_LEARNED: Final = (1, 6)
_ACKNOWLEDGED: Final = (200, 202)
# The answer tells that the reward is not counted, and never will be.
_REFUSED: Final = (400, 401, 403, 404, 409, 410, 413, 415, 422)


@dataclass(frozen=True, slots=True)
class Token:
    """What a decision token says."""

    mode: int
    epoch: int
    arm: int
    parts: int
    version: int
    block: int

    @property
    def is_learned(self) -> bool:
        """Whether a reward of it enters the statistics."""
        return self.mode in _LEARNED


def read_token(token: str) -> Token:
    """Read a token without its key."""
    _, _, mode, _, epoch, arm, parts, version, block, *_ = _BODY.unpack(
        base64.urlsafe_b64decode(token + "==")[: _BODY.size]
    )
    return Token(mode, epoch, arm, parts, version, block)


def outcome_of(status: int | None) -> Outcome:
    """Say what an answer means for the count; None: there was none.

    Who is told to come again (429, 5xx) knows no more than who hears nothing: it may have been counted.
    """
    if status in _ACKNOWLEDGED:
        return "acknowledged"
    return "refused" if status in _REFUSED else "open"


class Line(msgspec.Struct, frozen=True):
    """One answer to one reward; `steps` is the reward in parts of 2^-16, the unit of all sums."""

    decision: str
    event: str
    steps: int
    outcome: Outcome
    status: int | None = None

    @property
    def what(self) -> tuple[str, str, int]:
        """What was sent, however often."""
        return self.decision, self.event, self.steps


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Line)


class Book:
    """One client's file. Mutable: it grows."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)

    def write(self, lines: Iterable[Line]) -> None:
        """Add lines; they are with the system when this returns, so that a client that dies loses none."""
        self._file.write(b"".join(_ENCODER.encode(line) + b"\n" for line in lines))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_books(folder: Path) -> Iterator[Line]:
    """Yield the lines of all books in a folder."""
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as file:
            yield from map(_DECODER.decode, file)
