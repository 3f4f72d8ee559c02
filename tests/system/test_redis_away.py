"""A Redis that stops for a while: no prediction notices, rewards wait in the spool, and all is caught up in seconds. R1, R2."""

import asyncio
import json
import signal
import time
from pathlib import Path

import pytest

from tests.redis_server import AOF, RedisServer, redis_server
from tests.system.client import Client
from tests.system.gateway import KEYS, Gateway, configuration, endless, serving, until
from tests.system.model_server import DigitsServer
from tests.system.traffic import Nature, Traffic

# An operator's test asks for 30 s; what matters happens in the first second and the last.
AWAY_S = 3.0


async def paced(client: Client, seconds: float) -> list[float]:
    """Predict one after the other, and return how long each took."""
    took = []
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        began = time.monotonic()
        await client.predict()
        took.append(time.monotonic() - began)
    return took


def p99(took: list[float]) -> float:
    return sorted(took)[int(0.99 * len(took))]


def median(took: list[float]) -> float:
    return sorted(took)[len(took) // 2]


async def durability_of_a_reward(client: Client) -> str:
    token = (await client.predict()).decision
    body, _ = await client.http("POST", "/v1/rewards", json.dumps({"decision": token, "reward": 0.0}).encode())
    return str(json.loads(body)["durability"])


async def waits(gateway: Gateway) -> bool:
    return (await gateway.scrape()).get("turpin_spool_bytes", 0.0) > 0


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_redis_away_is_felt_by_no_prediction_and_costs_no_reward(tmp_path: Path, how: str) -> None:
    document = endless()
    document["objective"]["reward"] = {"window": "60s"}
    with redis_server(tmp_path / "redis", *AOF) as redis:
        shared = {"store": redis.url.partition("?")[0], "decision_keys": KEYS, "spool": {"folder": f"{tmp_path}/spool"}}
        async with DigitsServer() as server:
            settings = configuration(tmp_path, server.address, experiments=[document], **shared)
            async with serving(tmp_path, settings) as gateway, Client.to(gateway) as client:
                await gateway.in_phase("running")
                traffic = Traffic(client, Nature(dict.fromkeys((1, 2, 3), 0.5), seed=8))
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(traffic.run(4))
                    before = await paced(client, AWAY_S)
                    _away(redis, how)
                    during = await paced(client, AWAY_S)
                    durability = await durability_of_a_reward(client)
                    await until("something in the spool", lambda: waits(gateway))
                    metrics = await gateway.scrape()
                    await asyncio.to_thread(_back, redis, how)
                    traffic.stop.set()
                acknowledged = len(traffic.acknowledged)
                token = (await client.predict()).decision
                await client.reward(token, 0.0)
                traffic.acknowledged[token] = 0.0
                # The reward that showed its durability is counted too, for an arm that its token does not tell here.
                rewards = await _all_counted(gateway, acknowledged + 2)
                await gateway.stop()

    assert traffic.failed == []
    assert traffic.refused == []
    assert durability == "spooled"
    assert metrics["turpin_store_up"] == 0.0
    assert max(age for name, age in metrics.items() if "snapshot_age_seconds" in name) > 1.0
    assert rewards == acknowledged + 2
    print(f"p99 with the store {1e3 * p99(before):.1f} ms, without {1e3 * p99(during):.1f} ms")  # noqa: T201
    # What waited for the store would wait for 200 ms; of a busy machine's slowest hundredth nothing can be said.
    assert median(during) <= median(before) + 0.1


async def _all_counted(gateway: Gateway, wanted: int) -> int:
    """Wait until so many rewards are counted: within 5 s of the return of a store, and a refresh."""
    found = 0

    async def is_so() -> bool:
        nonlocal found
        found = sum(arm["rewards"] for arm in (await gateway.state()).get("arms", ()))
        return found >= wanted

    await until("all rewards in the store", is_so, patience_s=7.0)
    return found


def _away(redis: RedisServer, how: str) -> None:
    if how == "stopped":
        redis.signal(signal.SIGSTOP)
    else:
        redis.end()


def _back(redis: RedisServer, how: str) -> None:
    if how == "stopped":
        redis.signal(signal.SIGCONT)
    else:
        redis.start()
