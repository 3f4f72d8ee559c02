"""Two gateways on one store: one of them leads; when it is killed the other takes over where it stood."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving import wire
from tests.redis_server import AOF, redis_server
from tests.system.client import Client
from tests.system.gateway import KEYS, configuration, is_alive, serving, until
from tests.system.model_server import BYSTANDER, MODEL, DigitsServer
from tests.system.test_kill import LASTING
from tests.system.test_whole_line import LINES, RATES
from tests.system.traffic import Nature, Traffic, counted


@pytest.fixture(params=["sqlite", "redis"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The settings by which two gateways share a store of each kind."""
    if request.param == "sqlite":
        yield {}
        return
    with redis_server(tmp_path / "redis", *AOF) as redis:
        yield {"store": redis.url, "decision_keys": KEYS, "spool": {"folder": f"{tmp_path}/spool"}}


@pytest.mark.timeout(180)
async def test_second_gateway_takes_over_and_ends_the_experiment(tmp_path: Path, shared: dict[str, Any]) -> None:
    async with DigitsServer(LINES) as server:
        settings = configuration(tmp_path, server.address, experiments=[LASTING], **shared)
        async with (
            serving(tmp_path, settings) as first,
            serving(tmp_path, settings) as second,
            Client.to(first) as to_first,
            Client.to(second) as to_second,
        ):
            await second.in_phase("running")
            doomed = Traffic(to_first, Nature(RATES, seed=9))
            traffic = Traffic(to_second, Nature(RATES, seed=10))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(doomed.run(4))
                tasks.create_task(traffic.run(4))
                await until("rewards of both", lambda: min(len(doomed.acknowledged), len(traffic.acknowledged)) > 50)
                led_before = len(first.events("leading")), len(second.events("leading"))
                workers = first.workers()
                doomed.is_away = True
                first.process.kill()
                await first.ended()
                await until("the end of its workers", lambda: not any(map(is_alive, workers)))
                concluded = await second.in_phase("concluded", patience_s=60.0)
                await first.start_again()
                await asyncio.wait_for(to_first.channel.channel_ready(), 10.0)
                doomed.is_away = False
                doomed.stop.set()
                traffic.stop.set()
            # All rewards count on both, whichever took them.
            traffic.acknowledged.update(doomed.acknowledged)
            for gateway in (first, second):
                await counted(gateway, traffic)
                await gateway.stop()

    assert led_before == (1, 0)
    assert len(second.events("leading")) == 1
    assert (concluded["outcome"], concluded["winner"]) == ("replaced", "v2")
    assert [server.state_of(MODEL, version) for version in (1, 2, 3)] == [wire.END, wire.AVAILABLE, wire.END]
    assert [server.state_of(BYSTANDER, version) for version in (7, 8)] == [wire.AVAILABLE] * 2
    assert traffic.failed == []
    assert len(doomed.failed) <= 4, doomed.failed
    assert doomed.refused + traffic.refused == []
