"""Clients that bring rewards: what each answer makes them write, and that what stayed open is sent until it is settled."""

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from load.chaos.books import read_books
from load.chaos.payers import Payers
from load.chaos.waiting import until

Answer = Callable[[web.Request], Awaitable[web.Response]]


class Desk:
    """A gateway's two routes for rewards, answering as the test says. Mutable: what came, and what is answered."""

    def __init__(self) -> None:
        self.bodies: list[list[dict[str, object]]] = []
        self.statuses = [202]
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        body = [json.loads(one) for one in (await request.read()).splitlines()]
        self.bodies.append(body)
        await self.may_answer.wait()
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status == 0:
            assert request.transport is not None
            request.transport.abort()
        if request.path == "/v1/rewards" or status != 202:
            return web.json_response({"status": status, "durability": "standard"}, status=status or 500)
        return web.Response(text="\n".join(json.dumps({"status": 202}) for _ in body))


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    running = Desk()
    app = web.Application()
    app.router.add_post("/v1/rewards", running.handle)
    app.router.add_post("/v1/rewards:batch", running.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    running.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield running
    await runner.cleanup()


@pytest.fixture
async def payers(desk: Desk, tmp_path: Path) -> AsyncIterator[Payers]:
    clients = Payers([desk.url], tmp_path / "books", 20, random.Random(1))
    yield clients
    await clients.close()


async def test_volley_is_in_flight_until_it_is_answered_and_then_in_the_books(
    desk: Desk, payers: Payers, tmp_path: Path
) -> None:
    desk.may_answer.clear()
    dues = payers.due(f"token-{number}" for number in range(81))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(payers.volley(dues))
        await until("all of it in flight", lambda: payers.in_flight == 81, 5.0)
        before = list(read_books(tmp_path / "books"))
        desk.may_answer.set()

    assert before == []
    assert payers.in_flight == 0
    assert sorted(map(len, desk.bodies)) == [1] * 9 + [8] * 9
    found = {(line.decision, line.steps, line.outcome) for line in read_books(tmp_path / "books")}
    assert found == {(due.decision, due.steps, "acknowledged") for due in dues}
    sent = {(claim["decision"], claim["reward"]) for body in desk.bodies for claim in body}
    assert sent == {(due.decision, due.steps / 2**16) for due in dues}


async def test_what_had_no_answer_is_sent_again_until_it_has_one(desk: Desk, payers: Payers, tmp_path: Path) -> None:
    desk.statuses = [0, 503, 202]
    (due,) = payers.due(["token"])
    await payers.volley([due], per_call=1)
    after_first = dict(payers.open)
    await payers.settle(5.0)

    assert list(after_first.values()) == [due]
    assert payers.open == {}
    assert [line.status for line in read_books(tmp_path / "books")] == [None, 503, 202]
    assert len({json.dumps(body) for body in desk.bodies}) == 1


async def test_refusal_is_written_down_and_not_sent_again(desk: Desk, payers: Payers, tmp_path: Path) -> None:
    desk.statuses = [410]
    await payers.volley(payers.due(["token"]), per_call=1)

    assert payers.open == {}
    assert payers.refusals == [410]
    assert [line.outcome for line in read_books(tmp_path / "books")] == ["refused"]


async def test_more_calls_than_clients_are_a_mistake(payers: Payers) -> None:
    with pytest.raises(ValueError, match="take as many clients, there are 20"):
        await payers.volley(payers.due(map(str, range(21))), per_call=1)


async def test_where_nobody_listens_the_next_gateway_is_asked(desk: Desk, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
        payers = Payers([nobody, desk.url], tmp_path / "two", 4, random.Random(1))
        for number in range(4):
            await payers.volley(payers.due([f"token-{number}"]), per_call=1)
        await payers.close()

    assert payers.open == {}
    assert payers.acknowledged == len(desk.bodies) == 4
