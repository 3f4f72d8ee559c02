"""The line between the control process and a worker: length-prefixed msgpack frames over a socket pair.

The worker gets its whole configuration over it (so that no secret stands in arguments or environment), sends its
metrics, and ends when it closes: a worker never outlives its control process.
"""

import asyncio
import socket
from typing import Final, TypeAlias

import msgspec

from router.capture.messages import BeginCapture, Captured, EndCapture

# A frame holds a configuration, the metrics of one worker or an example of a capture: hundreds of kilobytes at most. More is a fault.
FRAME_BYTES_MAX: Final = 16 * 2**20
_LENGTH_BYTES: Final = 4


class Configure(msgspec.Struct, frozen=True, tag="configure"):
    """Control to worker: the effective configuration (a pickled Config), and the keys that sign decisions."""

    config: bytes
    keys: tuple[tuple[str, bytes], ...]


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Control to worker: drain and end."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Worker to control: listening."""

    grpc: int
    http: int


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Worker to control: it can't start, and why."""

    reason: str


class Counters(msgspec.Struct, frozen=True, tag="metrics"):
    """Worker to control: its metrics so far, cumulative."""

    snapshot: bytes


class Override(msgspec.Struct, frozen=True, tag="override"):
    """Control to worker: all traffic of an experiment to one arm, until snapshots of this revision say so themselves
    (None: until told otherwise)."""

    name: str
    is_on: bool
    revision: int | None = None


Order: TypeAlias = Override | BeginCapture | EndCapture
Message: TypeAlias = Order | Configure | Stop | Ready | Failed | Counters | Captured

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Message)


class Link:
    """One end of the line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, sock: socket.socket) -> "Link":
        """Take over one end of a socket pair."""
        return cls(*await asyncio.open_connection(sock=sock))

    async def send(self, message: Message) -> None:
        """Send a frame; ConnectionError when the other end is gone."""
        body = _encoder.encode(message)
        if self._writer.is_closing():
            # uvloop would say RuntimeError.
            raise ConnectionResetError("the other end is gone")
        self._writer.write(len(body).to_bytes(_LENGTH_BYTES) + body)
        await self._writer.drain()

    async def receive(self) -> Message | None:
        """Wait for the next frame; None when the other end is gone."""
        try:
            length = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES))
            if length > FRAME_BYTES_MAX:
                raise ValueError(f"a frame of {length} bytes; at most {FRAME_BYTES_MAX} are sent")
            message: Message = _decoder.decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return message

    async def close(self) -> None:
        """Close this end."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return
