"""Each fault of the proxy, in both directions, on real sockets."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator

import pytest

from load.chaos.faults import Blackhole, Cut, Delay, Fault, Garbage, Trickle
from load.chaos.proxy import Proxy, proxy_to
from load.chaos.waiting import until

WORDS = b"0123456789" * 10
# What takes longer than this hangs.
PATIENCE_S = 5.0
# A blackhole shows by nothing coming; what would come on loopback comes within a millisecond.
SILENCE_S = 0.1


class Echo(asyncio.Protocol):
    """Answers what it hears."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """A server that answers what it is sent; return its port."""
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


@pytest.fixture
async def proxy(echo: int) -> AsyncIterator[Proxy]:
    async with proxy_to(echo) as running:
        yield running


class Talk:
    """A connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, words: bytes) -> None:
        self.writer.write(words)
        await self.writer.drain()

    async def hear(self, count: int) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readexactly(count)

    async def hear_all(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()


@contextlib.asynccontextmanager
async def talking(proxy: Proxy) -> AsyncIterator[Talk]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield Talk(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.fixture
async def talk(proxy: Proxy) -> AsyncIterator[Talk]:
    async with talking(proxy) as connected:
        yield connected


def set_fault(proxy: Proxy, direction: str, fault: Fault) -> None:
    setattr(proxy, direction, fault)


BOTH = pytest.mark.parametrize("direction", ["to_server", "to_client"])


async def test_without_a_fault_all_goes_through(proxy: Proxy, talk: Talk) -> None:
    await talk.say(WORDS)

    assert await talk.hear(len(WORDS)) == WORDS
    assert (proxy.connections, proxy.open, len(proxy.local_ports)) == (1, 1, 1)


async def test_end_of_the_client_is_the_end_for_the_server(proxy: Proxy, talk: Talk) -> None:
    await talk.say(WORDS)
    await talk.hear(len(WORDS))
    talk.writer.close()
    await until("the end of the connection", lambda: proxy.open == 0, PATIENCE_S)

    assert proxy.connections == 1


@BOTH
async def test_delay_holds_an_answer_back(proxy: Proxy, talk: Talk, direction: str) -> None:
    set_fault(proxy, direction, Delay(random.Random(1), 0.05, 0.06))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await talk.say(WORDS)

    assert await talk.hear(len(WORDS)) == WORDS
    # The loop's timers may be early by its resolution.
    assert loop.time() - began >= 0.049


@BOTH
async def test_cut_ends_the_connection_within_a_message(proxy: Proxy, talk: Talk, direction: str) -> None:
    set_fault(proxy, direction, Cut(after_bytes=37))
    await talk.say(WORDS)
    heard = await talk.hear_all()

    # What is cut on its way up may not even come back: the connection ends both ways.
    assert heard == WORDS[:37] if direction == "to_client" else WORDS[:37].startswith(heard)


@BOTH
async def test_reset_is_a_reset_for_the_client(proxy: Proxy, talk: Talk, direction: str) -> None:
    set_fault(proxy, direction, Cut(after_bytes=0, is_reset=True))
    await talk.say(WORDS)

    with pytest.raises(ConnectionResetError):
        await talk.hear_all()


@BOTH
async def test_blackhole_keeps_the_connection_open_and_says_nothing(proxy: Proxy, talk: Talk, direction: str) -> None:
    set_fault(proxy, direction, Blackhole())
    await talk.say(WORDS)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(talk.reader.read(1), SILENCE_S)
    proxy.heal()
    await talk.say(b"again")

    assert await talk.hear(5) == b"again"


@BOTH
async def test_trickle_brings_all_of_it_slowly(proxy: Proxy, talk: Talk, direction: str) -> None:
    set_fault(proxy, direction, Trickle(10, 0.005))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await talk.say(WORDS)

    assert await talk.hear(len(WORDS)) == WORDS
    # Nine pauses lie before the last bit; the loop's timers may be early by a millisecond each.
    assert loop.time() - began >= 9 * 0.004


async def test_garbage_comes_instead_of_an_answer(proxy: Proxy, talk: Talk) -> None:
    proxy.to_client = Garbage()
    await talk.say(WORDS)

    assert await talk.hear_all() == Garbage().words


async def test_fault_of_one_direction_leaves_the_other_alone(proxy: Proxy) -> None:
    heard: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readexactly(len(WORDS)))
        writer.write(b"yes")
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    proxy.target_port = server.sockets[0].getsockname()[1]
    proxy.to_client = Blackhole()
    async with talking(proxy) as talk:
        await talk.say(WORDS)

        assert await talk.hear_all() == b""
        assert heard == [WORDS]
    server.close()
    await server.wait_closed()


async def test_dropped_connections_are_reset_and_new_ones_are_taken(proxy: Proxy, talk: Talk) -> None:
    await talk.say(WORDS)
    await talk.hear(len(WORDS))
    proxy.drop()
    with pytest.raises(ConnectionResetError):
        await talk.hear_all()
    async with talking(proxy) as again:
        await again.say(b"hello")

        assert await again.hear(5) == b"hello"


async def test_nobody_behind_the_proxy_ends_the_connection(proxy: Proxy) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        proxy.target_port = free.getsockname()[1]

        async with talking(proxy) as lonely:
            assert await lonely.hear_all() == b""
