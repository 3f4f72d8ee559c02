"""Two model servers as two clouds: traffic follows the price of a feed, leaves a dead cloud, and every second is billed."""

import asyncio
import contextlib
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.system.client import Client
from tests.system.gateway import Gateway, configuration, experiment, serving, until
from tests.system.model_server import DigitsServer
from tests.system.traffic import Nature, Traffic

# A row takes 4 ms, and a reward is worth $0.00001: $1.80 an hour are 20 % of the value.
LINES = {1: (0.0, 0.004), 2: (0.0, 0.004), 3: (0.0, 0.004)}
DEAR, CHEAP = 3.8, 2.0
CLIENTS = 8


def clouds(folder: Path, aws: str, gcp: str) -> dict[str, Any]:
    """The same model on two clouds, whose prices are in a file beside the configuration."""
    document = configuration(folder, aws)
    backends = {}
    for name, target in (("tfs-a", aws), ("tfs-g", gcp)):
        price = {"feed": "file:prices.json", "key": name}
        backends[name] = {"target": target, "price_usd_per_hour": price, "egress_usd_per_gib": 0.09}
    wanted = experiment(
        objective={"value_usd": 1e-5, "reward": {"window": "10s"}},
        policy={"hold": "1h", "block": "1s", "refresh": "0.2s"},
        stop={"min_per_arm": 100, "min_age": "1h"},
    )
    arms = [("v1", "tfs-a", 1), ("v2", "tfs-g", 2)]
    wanted["arms"] = [
        {"name": name, "backend": backend, "version": version, "reward_group": "two"} for name, backend, version in arms
    ]
    return document | {"backends": backends, "experiments": [wanted]}


def set_prices(folder: Path, aws: float, gcp: float) -> None:
    (folder / "prices.json").write_text(json.dumps({"tfs-a": aws, "tfs-g": gcp}))


async def of_admin(gateway: Gateway, what: str) -> dict[str, Any]:
    url = f"http://127.0.0.1:{gateway.admin}/admin/v1/{what}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        found: dict[str, Any] = await answer.json()
        return found


async def weighs(gateway: Gateway, arm: int, at_least: float) -> dict[str, Any]:
    async def does() -> dict[str, Any] | None:
        state = await gateway.state()
        return state if state["arms"][arm]["weight"] >= at_least else None

    found: dict[str, Any] = await until(f"a weight of {at_least} on arm {arm}", does)
    return found


@pytest.mark.timeout(90)
async def test_traffic_follows_the_cheaper_cloud_and_leaves_it_when_it_dies(tmp_path: Path) -> None:
    set_prices(tmp_path, CHEAP, DEAR)
    async with contextlib.AsyncExitStack() as stack:
        aws = await stack.enter_async_context(DigitsServer(LINES))
        mortal = await stack.enter_async_context(contextlib.AsyncExitStack())
        gcp = await mortal.enter_async_context(DigitsServer(LINES))
        document = clouds(tmp_path, aws.address, gcp.address)
        gateway = await stack.enter_async_context(serving(tmp_path, document))
        client = await stack.enter_async_context(Client.to(gateway))
        traffic = Traffic(client, Nature({1: 0.9, 2: 0.9}, seed=1))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(traffic.run(CLIENTS))
            await gateway.in_phase("running")
            await weighs(gateway, 0, 0.9)

            asked, flipped_at = traffic.answers.total(), time.monotonic()
            set_prices(tmp_path, DEAR, CHEAP)
            moved = await weighs(gateway, 1, 0.9)
            took_s, took = time.monotonic() - flipped_at, traffic.answers.total() - asked
            shown = await of_admin(gateway, "prices")

            died_at = time.monotonic()
            await mortal.aclose()
            left = await weighs(gateway, 0, 1.0)
            left_s = time.monotonic() - died_at
            traffic.stop.set()
        costs, samples = await of_admin(gateway, "costs"), await gateway.scrape()
        await gateway.stop()

    print(f"moved within {took_s:.2f} s and {took} requests; left the dead cloud within {left_s:.2f} s")  # noqa: T201
    assert traffic.failed == []
    assert took <= 5_000
    assert [arm["state"] for arm in moved["arms"]] == ["eligible", "eligible"]
    assert [one["usd_per_hour"] for one in shown["prices"]] == [DEAR, CHEAP]
    assert (left["arms"][1]["state"], left["arms"][1]["reason"].partition(" 1")[0]) == (
        "quarantined",
        "the backend was not reached",
    )
    # A refresh, a heartbeat, and ten calls; on a busy machine each of them takes longer.
    assert left_s < 10.0
    for backend in costs["backends"]:
        mine = [one for one in costs["versions"] if one["backend"] == backend["backend"]]
        billed_s = sum(one["busy_s"] + one["idle_s"] for one in mine)
        # What is carried to the next look.
        assert backend["replica_s"] - 2.0 <= billed_s <= backend["replica_s"] + 2.0
    by_kind = {
        kind: sum(
            value for name, value in samples.items() if name.startswith("turpin_cost_usd_total{") and kind in name
        )
        for kind in ('kind="busy"', 'kind="idle"', 'kind="egress"')
    }
    assert min(by_kind.values()) > 0.0
