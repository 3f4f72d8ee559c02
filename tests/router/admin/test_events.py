"""Events as they happen: in order, resumed where a reader was, alive while nothing happens, and never waiting for anybody."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from router.admin import events as route
from router.admin.application import application
from router.admin.events import Events
from router.admin.gate import Gate
from router.admin.routes import ROUTES
from router.config.settings import Admin
from router.events import EVENTS
from router.fronts.http import serve_http
from router.store import Entry
from router.store.memory import MemoryStore
from tests.router.admin.bench import EXPERIMENTS, Bench, bench, specified
from tests.simulated_loop import run_simulated

PATH = "/admin/v1/events"


class Reader:
    """A stream that is open. Mutable: what came and was not asked for yet."""

    def __init__(self, got: aiohttp.ClientResponse) -> None:
        self.got = got

    async def block(self) -> dict[str, str]:
        """Return the fields of the next event or comment (under ""); {} at the end."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(10):
            async for line in self.got.content:
                text = line.decode().rstrip("\n")
                if not text:
                    return fields
                name, _, value = text.partition(": ")
                fields[name.rstrip(":")] = value
        return fields

    async def event(self) -> tuple[str, str, Any]:
        """Return id, kind and data of the next event."""
        while "event" not in (found := await self.block()):
            assert found, "the stream has ended"
        return found["id"], found["event"], msgspec.json.decode(found["data"])


@contextlib.asynccontextmanager
async def reading(admin: Bench, query: str = "", **headers: str) -> AsyncIterator[Reader]:
    async with admin.session.get(PATH + query, headers=headers) as got:
        assert (got.status, got.content_type) == (200, "text/event-stream")
        reader = Reader(got)
        assert await reader.block() == {"retry": "1000"}
        yield reader


async def test_changes_are_told_as_they_happen_with_their_causes() -> None:
    async with bench() as admin, reading(admin) as reader:
        await admin.call("POST", EXPERIMENTS, specified())
        await admin.order("start", {"reason": "as agreed"})
        told = [await reader.event() for _ in range(7)]

    assert [number for number, _, _ in told] == [str(number) for number in range(1, 8)]
    assert [(kind, data["what"]) for _, kind, data in told] == [
        ("history", "revision"),
        ("audit", "create"),
        ("history", "phase"),
        *[("history", arm) for arm in ("v1", "v2", "v3")],
        ("audit", "start"),
    ]
    assert told[2][2] | {"at": 0} == {
        "kind": "history",
        "at": 0,
        "experiment": "digits",
        "what": "phase",
        "why": "started by local: as agreed",
        "before": "draft",
        "after": "warmup",
    }
    assert (told[6][2]["who"], told[6][2]["why"], "before" in told[6][2]) == ("local", "as agreed", False)


async def test_reader_that_comes_again_gets_what_it_missed_and_no_more() -> None:
    async with bench() as admin:
        async with reading(admin) as reader:
            await admin.call("POST", EXPERIMENTS, specified())
            last, _, _ = await reader.event()
        await admin.order("start")
        async with reading(admin, **{"Last-Event-ID": last}) as reader:
            missed = [await reader.event() for _ in range(6)]
            await admin.order("pause")
            following = await reader.event()

    assert [number for number, _, _ in missed] == ["2", "3", "4", "5", "6", "7"]
    assert following[0] == "8"


@pytest.mark.parametrize("number", ["99", "-1", "x", "1" * 400])
async def test_reader_that_cant_be_caught_up_hears_so_and_goes_on_from_now(number: str) -> None:
    async with bench() as admin:
        await admin.call("POST", EXPERIMENTS, specified())
        async with reading(admin, **{"Last-Event-ID": number}) as reader:
            reset = await reader.event()
            await admin.order("start")
            following = await reader.event()

    assert reset == ("2", "reset", {})
    assert following[0] == "3"


async def test_events_of_one_experiment_can_be_asked_for() -> None:
    async with bench() as admin, reading(admin, "?experiment=faces") as reader:
        arms = [{"name": f"v{number}", "backend": "elsewhere", "version": number} for number in (1, 2)]
        for name in ("digits", "faces"):
            made = await admin.call("POST", EXPERIMENTS, specified(name=name, model=name, arms=arms))
            assert made.status == 201
        told = [await reader.event() for _ in range(2)]

    assert {data["experiment"] for _, _, data in told} == {"faces"}


@contextlib.asynccontextmanager
async def listening(events: Events) -> AsyncIterator[tuple[str, web.AppRunner]]:
    (only,) = [one for one in ROUTES if one.name == "events"]
    app = application(Gate(Admin()), events.handlers(), routes=[only])
    app.on_shutdown.append(events.close)
    runner, port = await serve_http(app, "127.0.0.1", 0, is_shared=False)
    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(events.run())
        try:
            yield f"http://127.0.0.1:{port}", runner
        finally:
            await runner.cleanup()
            looking.cancel()


async def opened() -> MemoryStore:
    store = MemoryStore()
    await store.open()
    return store


async def test_silence_is_broken_and_the_end_is_told_at_once() -> None:
    events = Events(await opened(), look_s=0.01, alive_s=0.01)
    loop = asyncio.get_running_loop()
    async with listening(events) as (url, runner), aiohttp.ClientSession(url) as session, session.get(PATH) as got:
        reader = Reader(got)
        first, alive = await reader.block(), await reader.block()
        began = loop.time()
        await runner.cleanup()
        took_s = loop.time() - began
        while await reader.block():  # what was sent before
            pass

    assert (first, alive) == ({"retry": "1000"}, {"": "alive"})
    # A stream that stayed would hold up the end of the gateway for ten seconds.
    assert took_s < 5


async def test_streams_are_few() -> None:
    async with listening(Events(await opened())) as (url, _), aiohttp.ClientSession(url) as session:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(route.STREAMS_MAX):
                assert (await stack.enter_async_context(session.get(PATH))).status == 200
            async with session.get(PATH) as refused:
                assert (refused.status, "Retry-After" in refused.headers) == (429, True)
        async with asyncio.timeout(10):
            while True:  # until the gateway has seen that one is gone
                async with session.get(PATH) as again:
                    if again.status == 200:
                        break


async def test_reader_that_does_not_read_is_cut_off_and_holds_up_nobody() -> None:
    store = await opened()
    events = Events(store, look_s=0.01)
    # Twenty kilobytes each: what sockets and queues hold is full after a few thousand.
    long = msgspec.json.encode({"kind": "history", "experiment": "x", "at": 0.0, "what": "y" * 20_000, "why": ""})
    async with (
        listening(events) as (url, _),
        aiohttp.ClientSession(url) as session,
        session.get(PATH),
        session.get(PATH) as got,
    ):
        awake, given = Reader(got), 0
        await awake.block()
        assert events.readers == 2
        while events.readers == 2 and given < 10_000:
            await store.save_experiment("x", b"{}", given // 100, None, [Entry(EVENTS, long)] * 100)
            for _ in range(100):
                given += 1
                assert (await awake.event())[0] == str(given)

        assert events.readers == 1
        assert route.WAITING_MAX < given < 10_000


async def test_reader_that_does_not_read_holds_up_no_end() -> None:
    store = await opened()
    events = Events(store, look_s=0.01)
    long = msgspec.json.encode({"kind": "history", "experiment": "x", "at": 0.0, "what": "y" * 20_000, "why": ""})
    loop = asyncio.get_running_loop()
    async with listening(events) as (url, runner), aiohttp.ClientSession(url) as session, session.get(PATH):
        async with asyncio.timeout(30):
            for given in itertools.count():
                await store.save_experiment("x", b"{}", given, None, [Entry(EVENTS, long)] * 100)
                await asyncio.sleep(0.01)  # it looks as often
                if not events.readers:
                    break
        began = loop.time()
        await runner.cleanup()
        took_s = loop.time() - began

    # It would be given ten seconds for what it does not take, and the gateway as long for its end.
    assert took_s < 5


class _Dribbling(web.StreamResponse):
    """A connection that takes every write, each within three tenths of a second."""

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take it."""
        await asyncio.sleep(0.3)


@pytest.mark.parametrize("waiting", [0, 100, route.WAITING_MAX])
def test_end_waits_no_longer_for_a_reader_with_much_before_it(waiting: int) -> None:
    event = msgspec.json.encode({"kind": "audit", "experiment": "x"})

    async def play() -> float:
        loop = asyncio.get_running_loop()
        events, stream = Events(await opened()), route._Stream(0)
        stream.give((number, event) for number in range(1, waiting + 1))
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(_ended(events._serve(_Dribbling(), stream, b"", None)))
            await asyncio.sleep(1.0)
            began = loop.time()
            stream.close()
            await serving
            return loop.time() - began

    # Each write had its own ten seconds, however many were before the end.
    assert run_simulated(play()) <= 0.5


async def _ended(serving: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(TimeoutError):
        await serving


class _Slow(MemoryStore):
    """A store that answers a reader only when it is let. Mutable: whether it is asked, and whether it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked, self.is_let = asyncio.Event(), asyncio.Event()

    async def page(self, whose: str, limit: int, before: int | None) -> tuple[list[bytes], int | None]:
        self.is_asked.set()
        await self.is_let.wait()
        return await super().page(whose, limit, before)


async def test_reader_that_comes_while_the_gateway_ends_is_sent_away() -> None:
    store = _Slow()
    await store.open()
    events = Events(store)
    async with listening(events) as (url, runner), aiohttp.ClientSession(url) as session:
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(session.get(PATH))
            await store.is_asked.wait()
            assert runner.app is not None
            await events.close(runner.app)
            store.is_let.set()
        async with asking.result() as got:
            # A stream that nobody ends would stay as long as the port takes to close.
            assert got.status == 429
