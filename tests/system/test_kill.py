"""Processes of the gateway are killed in mid-experiment, under load: nothing acknowledged is lost or counted twice."""

import asyncio
import functools
import os
import signal
from pathlib import Path

import pytest

from tests.system.client import Client
from tests.system.fronts import FRONTS
from tests.system.gateway import Gateway, configuration, experiment, is_alive, serving, until
from tests.system.model_server import DigitsServer
from tests.system.test_whole_line import LINES, RATES
from tests.system.traffic import Nature, Traffic, counted

pytestmark = pytest.mark.timeout(90)

CLIENTS = 8
# What a worker's death costs at most: a call of each client over gRPC, and one for each HTTP connection to it that the
# clients' pool still has. All of them send rewards over HTTP, so it may have as many as there are clients.
COST = CLIENTS // 2 + CLIENTS
# Old enough at its end for all the kills to come before, with a window that outlasts a restart on a busy machine.
LASTING = experiment(objective={"reward": {"window": "60s"}}, stop={"min_age": "6s"})
# What a counter may consist of in a scrape.
COUNTERS = ("_total", "_count", "_sum", "_bucket")


async def counters_grow(gateway: Gateway, stop: asyncio.Event) -> None:
    """Scrape again and again; no counter may ever be lower than it was, or gone."""
    before: dict[str, float] = {}
    while not stop.is_set():
        scraped = await gateway.scrape()
        now = {
            name: value
            for name, value in scraped.items()
            if name.startswith("turpin_") and name.partition("{")[0].endswith(COUNTERS)
        }
        back = {name: (was, now.get(name)) for name, was in before.items() if now.get(name, -1.0) < was}
        assert not back, f"counters that went back: {back}"
        before = now
        await asyncio.sleep(0.1)


async def learned(traffic: Traffic, more: int) -> None:
    """Wait until so many more rewards are acknowledged."""
    enough = len(traffic.acknowledged) + more
    await until(f"{more} more rewards", lambda: len(traffic.acknowledged) >= enough)


@pytest.mark.parametrize("front", FRONTS)
async def test_killed_workers_cost_only_the_calls_they_had(tmp_path: Path, front: str) -> None:
    document = configuration(tmp_path, "", workers=2, experiments=[LASTING], front=front)
    async with DigitsServer(LINES) as server:
        document["backends"]["tfs-a"]["target"] = server.address
        async with serving(tmp_path, document) as gateway, Client.to(gateway) as client:
            await gateway.in_phase("running")
            traffic = Traffic(client, Nature(RATES, seed=2))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(traffic.run(CLIENTS))
                scraping = tasks.create_task(counters_grow(gateway, traffic.stop))
                for death, victim in enumerate(gateway.workers(), 1):
                    await learned(traffic, 100)
                    os.kill(victim, signal.SIGKILL)
                    # It says so again when all its workers are there. One at a time: somebody must listen.
                    await until("its successor", functools.partial(_has_said_ready, gateway, death + 1))
                await gateway.in_phase("concluded", patience_s=60.0)
                traffic.stop.set()
                await scraping
            state = await counted(gateway, traffic)
            log = await gateway.stop()

    assert len(traffic.failed) <= 2 * COST, traffic.failed
    assert traffic.refused == []
    assert (state["outcome"], state["winner"]) == ("replaced", "v2")
    assert log.count("worker died: starting it again") == 2


def _has_said_ready(gateway: Gateway, times: int) -> bool:
    return len(gateway.events("ready")) >= times


@pytest.mark.parametrize("front", FRONTS)
async def test_killed_control_process_leaves_no_orphans_and_loses_nothing(tmp_path: Path, front: str) -> None:
    async with DigitsServer(LINES) as server:
        document = configuration(tmp_path, server.address, workers=2, experiments=[LASTING], front=front)
        async with serving(tmp_path, document) as gateway, Client.to(gateway) as client:
            await gateway.in_phase("running")
            traffic = Traffic(client, Nature(RATES, seed=3))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(traffic.run(CLIENTS))
                await learned(traffic, 200)
                orphans = gateway.workers()
                traffic.is_away = True
                gateway.process.kill()
                await gateway.ended()
                await until("the end of the workers", lambda: not any(map(is_alive, orphans)))
                await gateway.start_again()
                # A gRPC client waits between two tries to connect; that is no failure of the gateway's.
                await asyncio.wait_for(client.channel.channel_ready(), 10.0)
                traffic.is_away = False
                await gateway.in_phase("concluded", patience_s=60.0)
                traffic.stop.set()
            # Workers that lose their control process end well: they say what they counted.
            answered = sum(traffic.answers.values())
            await until("all decisions", functools.partial(_has_decided, gateway, answered))
            state = await counted(gateway, traffic)
            await gateway.stop()

    assert len(orphans) == 2
    assert len(traffic.failed) <= CLIENTS, traffic.failed
    assert traffic.refused == []
    assert (state["outcome"], state["winner"]) == ("replaced", "v2")
    # Only an answer on its way may have been lost.
    assert sum(arm["decisions"] for arm in state["arms"]) <= answered + len(traffic.failed)


async def _has_decided(gateway: Gateway, answered: int) -> bool:
    return int(sum(arm["decisions"] for arm in (await gateway.state())["arms"])) >= answered
