"""Frames arrive whole and in order, or the line is over."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from router.link import FRAME_BYTES_MAX, Configure, Counters, Failed, Link, Message, Ready, Stop

messages = st.one_of(
    st.builds(Configure, config=st.binary(max_size=9), keys=st.lists(st.tuples(st.text(), st.binary())).map(tuple)),
    st.just(Stop()),
    st.builds(Ready, grpc=st.integers(0, 65535), http=st.integers(0, 65535)),
    st.builds(Failed, reason=st.text()),
    st.builds(Counters, snapshot=st.binary(max_size=100_000)),
)


@contextlib.asynccontextmanager
async def line() -> AsyncIterator[tuple[Link, socket.socket]]:
    """A link, and the bare socket at its other end."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    link = await Link.over(ours)
    try:
        yield link, theirs
    finally:
        await link.close()
        theirs.close()


@settings(deadline=None, max_examples=50)
@given(st.lists(messages, max_size=5))
def test_frames_arrive_as_they_were_sent_and_in_order(sent: list[Message]) -> None:
    async def play() -> list[Message | None]:
        async with line() as (link, other), asyncio.TaskGroup() as tasks:
            there = await Link.over(other)

            async def send() -> None:
                for message in sent:
                    await there.send(message)
                await there.close()

            tasks.create_task(send())
            return [await link.receive() for _ in range(len(sent) + 1)]

    assert asyncio.run(play()) == [*sent, None]


def frame(message: Message) -> bytes:
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(4, "big") + body


async def received(pieces: Sequence[bytes]) -> list[Message | None]:
    """What a link makes of bytes that come in pieces, until the line is over."""
    found: list[Message | None] = []
    async with line() as (link, other), asyncio.TaskGroup() as tasks:

        async def send() -> None:
            for piece in pieces:
                await asyncio.get_running_loop().sock_sendall(other, piece)
                await asyncio.sleep(0)
            other.shutdown(socket.SHUT_WR)

        tasks.create_task(send())
        while (message := await link.receive()) is not None:
            found.append(message)
    return found


async def test_frame_may_come_in_pieces() -> None:
    raw = frame(Ready(1, 2)) + frame(Stop())

    assert await received([raw[n : n + 1] for n in range(len(raw))]) == [Ready(1, 2), Stop()]


@pytest.mark.parametrize("kept", [1, 3, 4, -1])
async def test_worker_that_dies_within_a_frame_has_ended_its_line(kept: int) -> None:
    assert await received([frame(Stop()), frame(Failed("why"))[:kept]]) == [Stop()]


async def test_frame_beyond_the_bound_is_refused_before_it_is_read() -> None:
    async with line() as (link, other):
        await asyncio.get_running_loop().sock_sendall(other, (FRAME_BYTES_MAX + 1).to_bytes(4, "big"))

        with pytest.raises(ValueError, match=f"{FRAME_BYTES_MAX + 1} bytes; at most {FRAME_BYTES_MAX}"):
            await link.receive()


@pytest.mark.parametrize("raw", [b"\x00\x00\x00\x01\xc1", b"\x00\x00\x00\x00", b"\x00\x00\x00\x01\x01"])
async def test_frame_that_is_no_message_is_a_fault(raw: bytes) -> None:
    async with line() as (link, other):
        await asyncio.get_running_loop().sock_sendall(other, raw)

        with pytest.raises(msgspec.DecodeError):
            await link.receive()


async def test_sending_to_one_who_is_gone_is_a_connection_error() -> None:
    async with line() as (link, other):
        other.close()

        async def send() -> None:
            while True:
                await link.send(Counters(bytes(100_000)))

        with pytest.raises(ConnectionError):
            await send()


async def test_line_may_be_closed_twice() -> None:
    async with line() as (link, _):
        await link.close()
        await link.close()
        assert await link.receive() is None


def test_sending_on_a_closed_line_is_a_connection_error_under_uvloop_too() -> None:
    async def scenario() -> None:
        async with line() as (link, theirs):
            theirs.close()
            # It hears that the other end is gone, and closes its own.
            assert await link.receive() is None
            for _ in range(3):
                with contextlib.suppress(ConnectionError):
                    await link.send(Stop())
                await asyncio.sleep(0)
            with pytest.raises(ConnectionError):
                await link.send(Stop())

    uvloop.run(scenario())
