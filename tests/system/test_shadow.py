"""An arm that only gets copies may answer, hang, fail and die: clients notice nothing, and nothing is learned of it."""

import asyncio
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from serving.errors import Code
from tests.system.client import Client, token_fields
from tests.system.gateway import Gateway, configuration, experiment, serving, until
from tests.system.model_server import MODEL, DigitsServer
from tests.system.operator import EXPERIMENTS, token_of

SHARE = 0.5
REQUESTS = 200
# Far more than a request takes here, and less than a copy that hangs.
TIMEOUT_S = 3.0


def observed(folder: Path, own: str, other: str) -> dict[str, Any]:
    """Control serves all from a server of its own; the copies go to another."""
    document = configuration(folder, own, workers=2)
    document["backends"]["tfs-b"] = {"target": other, "price_usd_per_hour": 1.0}
    wanted = experiment() | {"mode": "observe"}
    wanted["arms"] = [
        {"name": f"v{version}", "backend": backend, "version": version}
        for version, backend in ((1, "tfs-a"), (2, "tfs-b"), (3, "tfs-b"))
    ]
    wanted["shadow"] = {"arms": ["v2"], "share": SHARE, "timeout": f"{TIMEOUT_S:g}s"}
    return document | {"experiments": [wanted]}


async def ask(client: Client, count: int = REQUESTS) -> float:
    """Ask so often, four at a time; return how long the slowest request took, in seconds."""
    slowest_s = 0.0

    async def one_of_four() -> None:
        nonlocal slowest_s
        for _ in range(count // 4):
            began = time.monotonic()
            answer = await client.predict()
            assert (answer.version, answer.arm) == (1, "v1")
            slowest_s = max(slowest_s, time.monotonic() - began)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(one_of_four())
    return slowest_s


async def shadow_when(gateway: Gateway, what: str, is_so: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """Wait until this is so of the shadow, and return it."""

    async def found() -> dict[str, Any] | None:
        state = await gateway.state()
        (shadow,) = state["shadow"]
        return shadow if is_so(shadow) else None

    shadow: dict[str, Any] = await until(what, found)
    return shadow


def ended(shadow: dict[str, Any]) -> int:
    """How many of the drawn requests have come to their end."""
    counts = (*shadow["errors"].values(), *shadow["dropped"].values())
    return int(shadow["compared"] + sum(counts))


async def is_right(gateway: Gateway, other: DigitsServer, before: int) -> dict[str, Any]:
    """Wait until the share of the requests that were copied is right, within the noise, and all of them were compared."""
    noise = 5 * math.sqrt(REQUESTS * SHARE * (1 - SHARE))
    return await shadow_when(
        gateway,
        "all copies are compared",
        lambda one: (
            abs(one["requests"] - SHARE * REQUESTS) <= noise
            and ended(one) == one["requests"]
            and one["mirrored"] == one["compared"] == len(other.predicted) - before > 0
        ),
    )


async def switch_off(gateway: Gateway) -> None:
    """Take the shadow out of the experiment, as a revision."""
    url = f"http://127.0.0.1:{gateway.admin}{EXPERIMENTS}/{MODEL}"
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token_of(gateway)}"}) as session:
        async with session.get(url) as answer:
            headers = {"If-Match": answer.headers["ETag"], "Content-Type": "application/merge-patch+json"}
        async with session.patch(url, data=json.dumps({"shadow": None}), headers=headers) as answer:
            assert answer.status == 200, await answer.text()


@pytest.mark.timeout(90)
async def test_clients_notice_nothing_of_a_shadow_whatever_becomes_of_it(tmp_path: Path) -> None:
    is_well = asyncio.Event()
    is_well.set()

    async def pause(_: float) -> None:
        await is_well.wait()

    async with (
        DigitsServer() as own,
        DigitsServer() as other,
        serving(tmp_path, observed(tmp_path, own.address, other.address)) as gateway,
        Client.to(gateway) as client,
    ):
        other.pause = pause
        await gateway.in_phase("running")
        await shadow_when(gateway, "copies are on", lambda one: one["waits_for"] is None)
        before = len(other.predicted)
        published = (await gateway.state())["snapshot_version"]

        async def is_heard_of() -> bool:
            return bool(token_fields((await client.predict()).decision)["version"] >= published)

        # A worker makes copies from when it has read that.
        await until("the worker knows of it", is_heard_of)
        await ask(client)
        answered = await is_right(gateway, other, before)
        is_well.clear()
        assert await ask(client) < TIMEOUT_S
        hung = await shadow_when(gateway, "copies that were late", lambda one: one["errors"].get("deadline"))
        is_well.set()
        other.refusals[2] = (Code.INTERNAL, "boom")

        async def has_failed() -> bool:
            await ask(client, 20)
            (shadow,) = (await gateway.state())["shadow"]
            return bool(shadow["errors"].get("backend"))

        await until("copies that failed", has_failed)
        await other.fall()
        assert await ask(client) < TIMEOUT_S
        state, scraped = await gateway.state(), await gateway.scrape()
        await switch_off(gateway)
        await until("the shadow is off", lambda: is_off(gateway))
        log = await gateway.stop()

    assert (answered["errors"], answered["agreed"], answered["agreement"]) == ({}, 0, 0.0)
    assert answered["outputs"]["images"]["agreement"] == 1.0
    assert answered["outputs"]["version"]["max_abs"] == 1.0
    assert answered["cost_usd"] > 0
    assert sum(hung["dropped"].values()) > 0
    # Nothing was learned of it.
    for count in ("decisions", "cost_usd"):
        assert [arm[count] > 0 for arm in state["arms"]] == [True, False, False], count
    assert [(arm["errors"], arm["rewards"]) for arm in state["arms"]] == [(0, 0)] * 3
    assert state["alarms"] == []
    assert not [name for name in scraped if name.startswith("turpin_decisions_total") and 'arm="v2"' in name]
    assert scraped['turpin_cost_usd_total{arm="v2",experiment="digits",kind="shadow"}'] > 0
    assert "copy failed" not in log


async def is_off(gateway: Gateway) -> bool:
    return not (await gateway.state())["shadow"]
