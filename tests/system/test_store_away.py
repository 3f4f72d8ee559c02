"""The store does not answer for a while: predictions go on, rewards wait or are asked to come again, nothing is lost."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from tests.system.client import Client, Refusal
from tests.system.gateway import configuration, endless, serving, until
from tests.system.model_server import DigitsServer
from tests.system.traffic import Nature, Traffic, counted


@pytest.mark.timeout(60)
async def test_locked_store_stops_no_prediction_and_in_strict_loses_no_reward(tmp_path: Path) -> None:
    document = endless()
    document["objective"]["reward"] = {"window": "60s"}
    async with DigitsServer() as server:
        settings = configuration(tmp_path, server.address, experiments=[document], durability="strict")
        async with serving(tmp_path, settings) as gateway, Client.to(gateway) as client:
            await gateway.in_phase("running")
            traffic = Traffic(client, Nature(dict.fromkeys((1, 2, 3), 0.5), seed=8))
            other = sqlite3.connect(tmp_path / "turpin.db", isolation_level=None)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(traffic.run(4))
                await until("some traffic", lambda: len(traffic.acknowledged) > 50)
                other.execute("BEGIN IMMEDIATE")
                token = (await client.predict()).decision
                # The store gives up after 2 s.
                with pytest.raises(Refusal) as caught:
                    await client.reward(token, 1.0)
                answered = [await client.predict() for _ in range(50)]
                with pytest.raises(Refusal):
                    await client.reward(token, 1.0)
                other.execute("ROLLBACK")
                acknowledged = len(traffic.acknowledged)
                await until("rewards again", lambda: len(traffic.acknowledged) > acknowledged + 50)
                traffic.stop.set()
            other.close()
            traffic.acknowledged[token] = 1.0
            assert await client.reward(token, 1.0) == 202
            await counted(gateway, traffic)
            # The control process comes to the store in turns of its own, later than the workers.
            await until("both processes' word", lambda: gateway.log_file.read_text().count("store back") == 2)
            log = await gateway.stop()

    assert caught.value.code == 503
    assert caught.value.headers["Retry-After"] == "1"
    assert "store_away" in caught.value.message
    assert all(answer.decision for answer in answered)
    assert traffic.failed == []
    assert traffic.refused == []
    # Each of the two processes says once that the store is away, and once that it is back; not in every turn.
    assert (log.count("store unavailable"), log.count("store back")) == (2, 2)
    assert log.count('"level": "error"') == 0


@pytest.mark.timeout(60)
async def test_rewards_wait_in_the_spool_while_the_store_is_locked_and_count_once(tmp_path: Path) -> None:
    document = endless()
    document["objective"]["reward"] = {"window": "60s"}
    async with DigitsServer() as server:
        settings = configuration(tmp_path, server.address, experiments=[document])
        async with serving(tmp_path, settings) as gateway, Client.to(gateway) as client:
            await gateway.in_phase("running")
            traffic = Traffic(client, Nature(dict.fromkeys((1, 2, 3), 0.5), seed=8))
            other = sqlite3.connect(tmp_path / "turpin.db", isolation_level=None)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(traffic.run(4))
                await until("some traffic", lambda: len(traffic.acknowledged) > 50)
                other.execute("BEGIN IMMEDIATE")
                token = (await client.predict()).decision
                statuses = [await client.reward(token, 1.0) for _ in range(2)]
                other.execute("ROLLBACK")
                traffic.stop.set()
            other.close()
            traffic.acknowledged[token] = 1.0
            await counted(gateway, traffic)
            again = await client.reward(token, 1.0)
            await gateway.stop()

    # Whether the second is the same as the first is for the store to say, and it is away.
    assert (statuses, again) == ([202, 202], 200)
    assert traffic.failed == []
    assert traffic.refused == []
