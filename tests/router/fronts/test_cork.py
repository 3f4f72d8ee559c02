"""Corked connections: what is written in one round leaves at its end, in order, and nothing is lost by it."""

import asyncio
from typing import Any

import pytest
from aiohttp import ClientSession, web

from router.fronts.cork import Cork, CorkedServer, CorkedTransport


class Recorded(asyncio.Transport):
    """A transport that notes what is done with it, for two connections in one list."""

    def __init__(self, name: str, seen: list[tuple[str, bytes]]) -> None:
        super().__init__()
        self._name, self._seen, self._is_closing = name, seen, False

    def write(self, data: Any) -> None:
        self._seen.append((self._name, bytes(data)))

    def close(self) -> None:
        self._is_closing = True
        self._seen.append((self._name, b"closed"))

    def abort(self) -> None:
        self._is_closing = True

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def two(seen: list[tuple[str, bytes]]) -> tuple[CorkedTransport, CorkedTransport]:
    cork = Cork()
    return CorkedTransport(Recorded("a", seen), cork), CorkedTransport(Recorded("b", seen), cork)


async def rounds(count: int = 2) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_writes_of_a_round_leave_behind_all_that_was_ready_in_it() -> None:
    seen: list[tuple[str, bytes]] = []
    a, b = two(seen)
    at_work: list[int] = []

    async def answer(transport: CorkedTransport, *parts: bytes) -> None:
        for part in parts:
            transport.write(part)
        at_work.append(len(seen))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answer(a, b"1", b"2"))
        tasks.create_task(answer(b, b"3"))
    await rounds()

    assert at_work == [0, 0]
    assert seen == [("a", b"12"), ("b", b"3")]

    a.writelines([b"4", b"5"])
    await rounds()
    assert seen[2:] == [("a", b"45")]


async def test_what_is_large_leaves_at_once_behind_what_waits() -> None:
    seen: list[tuple[str, bytes]] = []
    a, _ = two(seen)

    a.write(b"head")
    a.write(bytes(64 * 1024))
    a.write(b"more")
    assert [(name, len(data)) for name, data in seen] == [("a", 4 + 64 * 1024)]
    await rounds()
    assert seen[1:] == [("a", b"more")]


async def test_a_connection_closes_behind_what_waits() -> None:
    seen: list[tuple[str, bytes]] = []
    a, _ = two(seen)

    a.write(b"last")
    a.close()
    await rounds()

    assert seen == [("a", b"last"), ("a", b"closed")]


async def test_nothing_is_written_to_a_connection_that_is_gone() -> None:
    seen: list[tuple[str, bytes]] = []
    a, b = two(seen)

    a.write(b"too late")
    b.write(b"in time")
    a.abort()
    await rounds()

    assert a.is_closing()
    assert seen == [("b", b"in time")]


@pytest.mark.parametrize("size", [1, 70_000, 1_000_000])
async def test_answers_in_pieces_come_whole_over_aiohttp(size: int) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for digit in b"0123456789":
            await response.write(bytes([digit]) * size)
        return response

    runner = web.ServerRunner(CorkedServer(handler, keepalive_timeout=5))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with ClientSession() as session, session.get(f"http://127.0.0.1:{runner.addresses[0][1]}/") as answer:
            body = await answer.read()
    finally:
        await runner.cleanup()

    assert body == b"".join(bytes([digit]) * size for digit in b"0123456789")
