"""While the store is away `:bypass` sends all requests of a gateway to control at once, and is undone; the other gateway
follows when the store is back."""

import asyncio
import contextlib
import functools
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from router.decisions import Mode
from tests.system.client import Client, token_fields
from tests.system.gateway import Gateway, configuration, endless, serving, until
from tests.system.model_server import DigitsServer
from tests.system.operator import audit, order

# Each connection ends at one of two workers: that all of sixteen end at the same has a probability of 2^-15.
CONNECTIONS = 16
# With a third of the traffic each, so many requests pass over control with a probability of (1/3)^48 at most.
REQUESTS = 48
CONTROL = (1, Mode.BYPASS)


@contextlib.asynccontextmanager
async def connected(gateway: Gateway) -> AsyncIterator[list[Client]]:
    """Many connections to a gateway."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Client.to(gateway)) for _ in range(CONNECTIONS)]


async def answered(clients: list[Client]) -> list[tuple[int, int]]:
    """Predict over all connections; return the versions that answered, and the modes of the decisions."""
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(clients[place % len(clients)].predict()) for place in range(REQUESTS)]
    answers = [task.result() for task in asked]
    return [(answer.version, token_fields(answer.decision)["mode"]) for answer in answers]


async def all_on_control(clients: list[Client]) -> bool:
    return set(await answered(clients)) == {CONTROL}


async def drawn_again(clients: list[Client]) -> bool:
    """Whether no request is bypassed any more."""
    found = set(await answered(clients))
    return {mode for _, mode in found} == {Mode.EXPERIMENT} and len(found) > 1


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the store's lock, as a program does that copies the file."""
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@pytest.mark.timeout(120)
async def test_bypass_without_a_store_reaches_all_workers_at_once_and_other_gateways_later(tmp_path: Path) -> None:
    document = endless()
    document["objective"]["reward"] = {"window": "60s"}
    async with DigitsServer() as server:
        settings = configuration(tmp_path, server.address, experiments=[document])
        async with (
            serving(tmp_path, settings, "--workers", "2") as first,
            serving(tmp_path, settings) as second,
            connected(first) as here,
            connected(second) as there,
        ):
            await second.in_phase("running")
            for clients in (here, there):
                await until("learned decisions", functools.partial(drawn_again, clients))
            with locked(tmp_path / "turpin.db"):
                async with asyncio.TaskGroup() as tasks:
                    ordered = tasks.create_task(order(first, "bypass", "it burns"))
                    # Told before the store is asked, which takes its 2 s to say no.
                    await until("control alone", lambda: all_on_control(here))
                    was_at_once = not ordered.done()
                bypassed = ordered.result()
                others = set(await answered(there))
                ended = await order(first, "resume")
                await until("weights again", lambda: drawn_again(here))
                again = await order(first, "bypass", "it burns again")
                is_control = await all_on_control(here)
            await until("the other gateway's turn", lambda: all_on_control(there), patience_s=30.0)
            assert await all_on_control(here)
            rows = await audit(second)
            state = await second.state()
            resumed = await order(second, "resume")
            for clients in (here, there):
                await until("weights again", functools.partial(drawn_again, clients))
            for gateway in (first, second):
                await gateway.stop()

    assert (bypassed[0], bypassed[1]["applied"], again[0]) == (202, "here", 202)
    assert was_at_once
    assert is_control
    # Nobody told it yet.
    assert CONTROL not in others
    assert (ended[0], ended[1]["applied"]) == (202, "here")
    assert [(row["what"], row["why"]) for row in rows] == [("bypass", "it burns again")]
    assert (state["phase"], resumed[0], resumed[1]["phase"]) == ("paused", 200, "running")
