"""What hostile clients do to a gRPC port: each does its worst and returns its connections, still open."""

import asyncio
import gzip
import itertools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, TypeAlias

from serving import wire
from tests.system.client import predict_request
from tests.system.http2 import (
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    RESET,
    SETTINGS,
    Peer,
    call_fields,
    fields,
    frame,
)
from tests.system.model_server import BYSTANDER, PIXELS

# From a port to the connections that were made to it.
Attack: TypeAlias = Callable[[int], Awaitable[list[Peer]]]

# The largest that a server takes unless it says otherwise.
_FRAME_BYTES: Final = 16_384
# What is written at once: the event loop has others to serve, honest clients among them.
_AT_ONCE: Final = 200
_CALL: Final = call_fields(wire.PREDICT)
_REQUEST: Final = bytes(predict_request([0.5] * PIXELS, BYSTANDER).SerializeToString())


def _streams() -> Iterable[int]:
    """Return the numbers of a client's streams."""
    return itertools.count(1, 2)


async def _peers(port: int, count: int, *sent: bytes, is_http2: bool = True) -> list[Peer]:
    """Make so many connections and send them all the same."""
    connect = Peer.greeting if is_http2 else Peer.at
    found = [await connect(port) for _ in range(count)]
    for peer in found:
        await _send(peer, sent)
    return found


async def _send(peer: Peer, frames: Iterable[bytes]) -> None:
    """Send frames, some at a time, until the other side has had enough."""
    rest = iter(frames)
    while not peer.is_lost and (some := b"".join(itertools.islice(rest, _AT_ONCE))):
        await peer.write(some)
        await asyncio.sleep(0)


async def _heard(peers: list[Peer]) -> list[Peer]:
    """Wait until all that was sent has been read, or refused, and return them."""
    for peer in peers:
        await peer.heard()
    return peers


async def half_a_greeting(port: int) -> list[Peer]:
    """Begin HTTP/2, or HTTP/1.1, and go no further."""
    first = await _peers(port, 50, b"PRI * HT", is_http2=False)
    return [*first, *await _peers(port, 50, b"POST / HTTP/1.1\r\nHost: x\r\nX-A: ", is_http2=False)]


async def headers_without_end(port: int) -> list[Peer]:
    """Begin the headers of a call and never say that they are whole."""
    return await _peers(port, 100, frame(HEADERS, END_STREAM, 1, _CALL))


async def large_headers(port: int) -> list[Peer]:
    """Send calls with a megabyte of headers."""
    value = "x" * (_FRAME_BYTES - 100)
    more = [frame(CONTINUATION, 0, 1, fields([(f"x-{n}", value)])) for n in range(64)]
    return await _peers(port, 20, frame(HEADERS, END_STREAM, 1, _CALL), *more, frame(CONTINUATION, END_HEADERS, 1))


async def many_headers(port: int) -> list[Peer]:
    """Send calls with 1,000 headers of their own."""
    block = _CALL + fields([(f"x-{n}", "1") for n in range(1000)])
    return await _peers(port, 20, frame(HEADERS, END_STREAM | END_HEADERS, 1, block))


async def headers_that_inflate(port: int) -> list[Peer]:
    """Send one header of 4,000 bytes to be remembered, and 12,000 times the byte that stands for it."""
    remembered = b"\x40" + fields([("x", "y" * 4000)])[1:]
    block = _CALL + remembered + b"\xbe" * 12_000
    first, rest = block[:_FRAME_BYTES], block[_FRAME_BYTES:]
    frames = (frame(HEADERS, END_STREAM, 1, first), frame(CONTINUATION, END_HEADERS, 1, rest))
    return await _peers(port, 20, *frames)


async def flood_of_continuations(port: int) -> list[Peer]:
    """Go on with the headers of one call in 100,000 frames, each with little or nothing in it."""
    peers = await _peers(port, 4, frame(HEADERS, END_STREAM, 1, _CALL))
    small = frame(CONTINUATION, 0, 1, fields([("x", "1")]))
    for peer, one in zip(peers, (small, small, frame(CONTINUATION, 0, 1), frame(CONTINUATION, 0, 1)), strict=True):
        await _send(peer, itertools.repeat(one, 100_000))
    return peers


async def rapid_resets(port: int) -> list[Peer]:
    """Begin 20,000 whole calls, and take each back at once."""
    peers = await _peers(port, 4)
    body = frame(DATA, END_STREAM, 0, _message(_REQUEST))

    def call(stream: int) -> bytes:
        number = stream.to_bytes(4)
        ours = body[:5] + number + body[9:]
        return frame(HEADERS, END_HEADERS, stream, _CALL) + ours + frame(RESET, 0, stream, CANCEL)

    for peer in peers:
        await _send(peer, map(call, itertools.islice(_streams(), 5_000)))
    return await _heard(peers)


async def flood_of_pings_and_settings(port: int) -> list[Peer]:
    """Ask for 200,000 answers that cost the asker nothing."""
    peers = await _peers(port, 4)
    for peer, one in zip(peers, (frame(PING, 0, 0, bytes(8)), frame(SETTINGS, 0, 0)) * 2, strict=True):
        await _send(peer, itertools.repeat(one, 50_000))
    return await _heard(peers)


async def messages_too_large(port: int) -> list[Peer]:
    """Announce 4 GB, and send more than was announced, as much as the window holds."""
    begun = frame(HEADERS, END_HEADERS, 1, _CALL)
    announced = await _peers(port, 20, begun, frame(DATA, 0, 1, b"\0\xff\xff\xff\xff" + bytes(1000)))
    pieces = [frame(DATA, 0, 1, bytes(_FRAME_BYTES - 1)) for _ in range(4)]
    return [*announced, *await _peers(port, 20, begun, *pieces)]


async def zeros_that_inflate(port: int) -> list[Peer]:
    """Send 100 whole messages of 50 KB that hold 50 MB each."""
    packed = _message(gzip.compress(bytes(50_000_000)), flag=1)
    begun = frame(HEADERS, END_HEADERS, 1, call_fields(wire.PREDICT, ("grpc-encoding", "gzip")))
    pieces = [packed[start : start + _FRAME_BYTES] for start in range(0, len(packed), _FRAME_BYTES)]
    last = len(pieces) - 1
    sent = [frame(DATA, END_STREAM if n == last else 0, 1, piece) for n, piece in enumerate(pieces)]
    return await _peers(port, 100, begun, *sent)


async def bodies_without_end(port: int) -> list[Peer]:
    """Begin 5,000 calls whose messages never come whole."""
    begun = [
        frame(HEADERS, END_HEADERS, stream, _CALL) + frame(DATA, 0, stream, b"\0\0\0\x10\0x")
        for stream in itertools.islice(_streams(), 100)
    ]
    return await _peers(port, 50, *begun)


async def empty_pieces(port: int) -> list[Peer]:
    """Send bodies in 50,000 frames without a byte in them."""
    peers = await _peers(port, 4, frame(HEADERS, END_HEADERS, 1, _CALL))
    for peer in peers:
        await _send(peer, itertools.repeat(frame(DATA, 0, 1), 50_000))
    return await _heard(peers)


async def garbage(port: int) -> list[Peer]:
    """Send frames that nobody may send: on stream 0, of unknown kinds, with headers that can't be read."""
    bad = (
        frame(HEADERS, END_HEADERS | END_STREAM, 0, _CALL),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff" * 200),
        frame(200, 255, 1, bytes(1000)),
        frame(DATA, 0, 7, b"x"),
        b"\xff" * 1000,
    )
    return [peer for one in bad for peer in await _peers(port, 10, one)]


def _message(message: bytes, flag: int = 0) -> bytes:
    """Write a gRPC message with its prefix."""
    return bytes((flag,)) + len(message).to_bytes(4) + message


ATTACKS: Final[Mapping[str, Attack]] = {
    attack.__name__: attack
    for attack in (
        half_a_greeting,
        headers_without_end,
        large_headers,
        many_headers,
        headers_that_inflate,
        flood_of_continuations,
        rapid_resets,
        flood_of_pings_and_settings,
        messages_too_large,
        zeros_that_inflate,
        bodies_without_end,
        empty_pieces,
        garbage,
    )
}
