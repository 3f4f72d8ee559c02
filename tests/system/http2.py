"""HTTP/2 by hand, for clients that no library would be: frames and headers as bytes (RFC 9113, RFC 7541)."""

import asyncio
import struct
from collections.abc import Sequence
from typing import Final, Self

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
CANCEL: Final = struct.pack("!I", 8)
_FRAME_HEAD: Final = 9
_HEARD: Final = b"so far, "
_LOOK_S: Final = 0.05
# Literal, not to be indexed, with a name of its own; no Huffman code.
_LITERAL: Final = b"\0"
_SHORT: Final = 0x7F


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Write one frame."""
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def fields(pairs: Sequence[tuple[str, str]]) -> bytes:
    """Write headers, each in full."""
    return b"".join(_LITERAL + _string(name) + _string(value) for name, value in pairs)


def call_fields(path: str, *more: tuple[str, str]) -> bytes:
    """Write the headers of a gRPC call."""
    pseudo = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "turpin")]
    return fields([*pseudo, ("content-type", "application/grpc"), ("te", "trailers"), *more])


def _string(text: str) -> bytes:
    """Write a length, in 7 bits or in groups of 7 from the lowest, and the bytes."""
    octets = text.encode()
    if len(octets) < _SHORT:
        return bytes((len(octets),)) + octets
    length, rest = bytes((_SHORT,)), len(octets) - _SHORT
    while rest >= 0x80:
        length, rest = length + bytes((rest & 0x7F | 0x80,)), rest >> 7
    return length + bytes((rest,)) + octets


class Peer(asyncio.Protocol):
    """One connection, whose answers are read and thrown away. Mutable: what has come, and whether it still stands."""

    def __init__(self) -> None:
        self.received: bytearray = bytearray()
        self.is_lost = False
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def at(cls, port: int) -> Self:
        """Connect to a port of loopback, and say nothing."""
        _, peer = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return peer

    @classmethod
    async def greeting(cls, port: int) -> Self:
        """Connect and begin HTTP/2."""
        peer = await cls.at(port)
        await peer.write(PREFACE + frame(SETTINGS, 0, 0))
        return peer

    async def write(self, sent: bytes) -> None:
        """Send, once the other side has room; nothing when it is gone."""
        if self._transport is not None and not self.is_lost:
            self._transport.write(sent)
            await self._may_write.wait()

    async def heard(self) -> None:
        """Wait until the other side has read all that was sent, or has had enough of us."""
        await self.write(frame(PING, 0, 0, _HEARD))
        answer = frame(PING, ACK, 0, _HEARD)
        while not (self.is_lost or answer in self.received or GOAWAY in self.kinds()):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)

    def close(self) -> None:
        """Leave without a word."""
        if self._transport is not None:
            self._transport.abort()

    def kinds(self) -> list[int]:
        """Return the kinds of the frames that have come."""
        found, place = [], 0
        while place + _FRAME_HEAD <= len(self.received):
            found.append(self.received[place + 3])
            place += _FRAME_HEAD + int.from_bytes(self.received[place : place + 3])
        return found

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self._may_write.set()
