"""What the spool keeps of a reward, and the frames in which it stands in the file.

A frame is a length, a checksum and so many bytes. The last one may be torn, where the process was killed while it
wrote: nobody was told yet that it is safe, so it is left out.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from router.store import Cell, Reward

SPOOL_AGE_S: Final = 3600
"""How long rewards may wait before no more are taken, and how much longer than without a spool pairs are remembered.
An hour is what a restart, a failover or an upgrade of a store takes, many times over; each hour costs the store 120 bytes
for every reward that comes within one."""

_HEAD: Final = struct.Struct(">II")
# A frame holds one call's rewards, of which a worker takes 4 MiB at most; more is a fault.
_FRAME_BYTES_MAX: Final = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Spooled:
    """A reward, and the claim that its decision is its unit's trial (sticky experiments)."""

    reward: Reward
    trial: Reward | None = None


class _Line(msgspec.Struct, frozen=True, array_like=True):
    """A reward as it stands in the file."""

    epoch: int
    arm: int
    block: int
    nonce: bytes
    event: str
    value: float
    fields: dict[str, int]
    expires_at: int


class _Frame(msgspec.Struct, frozen=True, array_like=True):
    """One call's rewards, and when they were taken (unix s)."""

    taken_at: float
    rewards: list[tuple[_Line, _Line | None]]


@dataclass(frozen=True, slots=True)
class Parcel:
    """Frames that were read: when the first was taken, what they hold, and where the next one begins."""

    taken_at: float
    entries: tuple[Spooled, ...]
    next_at: int


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Frame)


def frame_of(entries: Sequence[Spooled], now: float) -> bytes:
    """Return the bytes of a frame."""
    lines = [(_line(entry.reward), None if entry.trial is None else _line(entry.trial)) for entry in entries]
    body = _ENCODER.encode(_Frame(now, lines))
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def read_frame(read: Callable[[int, int], bytes], at: int) -> Parcel | None:
    """Return the frame of a file that begins at `at`; None at the end, or where nothing whole stands any more.

    `read` returns so many bytes from a place, fewer at the end.
    """
    head = read(at, _HEAD.size)
    if len(head) < _HEAD.size:
        return None
    length, checksum = _HEAD.unpack(head)
    # Zeros are what a file system may leave where it had noted the new length of a file and not yet its bytes; the checksum
    # of nothing is zero, too.
    if not 0 < length <= _FRAME_BYTES_MAX:
        return None
    body = read(at + _HEAD.size, length)
    if len(body) < length or zlib.crc32(body) != checksum:
        return None
    frame = _DECODER.decode(body)
    entries = tuple(Spooled(_reward(line), None if trial is None else _reward(trial)) for line, trial in frame.rewards)
    return Parcel(frame.taken_at, entries, at + _HEAD.size + length)


def _line(reward: Reward) -> _Line:
    cell = reward.cell
    return _Line(
        cell.epoch,
        cell.arm,
        cell.block,
        reward.nonce,
        reward.event,
        reward.value,
        dict(reward.fields),
        reward.expires_at,
    )


def _reward(line: _Line) -> Reward:
    cell = Cell(line.epoch, line.arm, line.block)
    return Reward(cell, line.nonce, line.event, line.value, line.fields, line.expires_at)
