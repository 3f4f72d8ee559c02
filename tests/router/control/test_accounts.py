"""Accounts go on where the last control process left them, and count each dollar of idle time in the metrics once."""

import asyncio
import contextlib
from typing import Any

import pytest

from router.config.document import validate
from router.config.settings import Backend
from router.control.accounts import Accounts
from router.control.feeds import Feeds
from router.metrics import Metrics
from router.snapshot import PARTS, ArmRoute, encode
from router.store import Store
from router.store.memory import MemoryStore
from serving import wire
from serving.fleet import Sight, VersionStatus
from serving.upstream import Upstream
from tests.router.samples import snapshot
from tests.simulated_loop import run_simulated


class Nobody(Upstream):
    """A replica that is only paid for."""

    address = "a:1"

    async def call(self, method: str, body: bytes, timeout_s: float) -> bytes:
        raise AssertionError

    async def close(self) -> None:
        pass


class Slow(MemoryStore):
    """A store that takes half a second to say what is published."""

    async def snapshots(self) -> dict[str, tuple[int, bytes]]:
        await asyncio.sleep(0.5)
        return await super().snapshots()


async def ran(
    store: Store, seconds: float, fence: int | None, sight: Sight | None = None
) -> tuple[dict[str, Any], float]:
    """Run a control process's accounts for so long; return what they show, and the idle dollars its metrics have."""
    metrics, loop = Metrics(), asyncio.get_running_loop()
    backend = validate(Backend, {"target": "a:1", "price_usd_per_hour": 3600.0})
    accounts = Accounts(
        store=store,
        upstreams={"tfs": (Nobody(),)},
        sights=lambda _backend: [sight or Sight({})],
        feeds=Feeds({"tfs": backend}, now=loop.time),
        metrics=metrics,
        unix_now=lambda: 1e9 + loop.time(),
        fence=lambda: fence,
    )
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await accounts.run()
    counted = metrics.cost_usd.labels("", "other", "idle").value
    return accounts.view(), float(counted)


def test_control_process_that_starts_again_goes_on_and_counts_nothing_twice() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        await store.open()
        fence = await store.lease("one", 0.0, 1e9)
        await ran(store, 25.5, fence)
        await asyncio.sleep(1000.0)

        shown, counted = await ran(store, 5.5, fence)

        # Kept at 20 s; 5 s more were seen.
        (backend,) = shown["backends"]
        assert (shown["since"], backend["replica_s"], backend["usd"]) == (1e9, pytest.approx(25.0), pytest.approx(25.0))
        assert counted == pytest.approx(5.0)

    run_simulated(scenario())


def test_gateway_that_does_not_lead_shows_the_bills_and_keeps_none() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        await store.open()

        shown, counted = await ran(store, 25.5, None)

        assert shown["backends"][0]["replica_s"] == pytest.approx(25.0)
        assert (counted, await store.bills()) == (0.0, [])

    run_simulated(scenario())


def test_version_is_known_as_an_arm_while_the_arms_are_read_anew() -> None:
    async def scenario() -> None:
        store = Slow()
        await store.open()
        fence = await store.lease("one", 0.0, 1e9)
        assert fence is not None
        arms = (ArmRoute("v1", "tfs", "digits", 1, PARTS),)
        await store.publish("digits", 7, encode(snapshot(arms=arms)), fence)

        # It looks every 1.5 s; at 9.25 s the store is being asked.
        shown, _ = await ran(store, 9.25, fence, Sight({"digits": {1: VersionStatus(1, wire.AVAILABLE, "")}}))

        (row,) = shown["versions"]
        assert (row["experiment"], row["arm"], row["idle_s"] > 0) == ("digits", "v1", True)

    run_simulated(scenario())
