"""The data plane in this process: what it does before the first snapshot, and with counts when it ends in mid-flush."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from router import snapshot
from router.clock import unix_now
from router.config.document import validate
from router.config.gateway import Config
from router.data_plane import DataPlane, Ports
from router.decisions import Keyring, Mode
from router.metrics import Metrics
from router.snapshot import PARTS, ArmRoute, Snapshot
from router.store.contract import Deltas
from router.store.memory import MemoryStore
from tests.system.client import Client
from tests.system.gateway import configuration, endless, until
from tests.system.model_server import MODEL, DigitsServer

EPOCH = 7


class HesitantStore(MemoryStore):
    """A store in memory whose flushes wait while `may_flush` is not set. Mutable: how many wait, or were cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.may_flush = asyncio.Event()
        self.may_flush.set()
        self.waiting = self.cancelled = 0

    async def flush(self, gateway: str, sequence: int, deltas: Deltas, heartbeat: bytes, now: float) -> None:
        self.waiting += 1
        try:
            await self.may_flush.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1
        await super().flush(gateway, sequence, deltas, heartbeat, now)

    async def decisions(self) -> int:
        return sum(cell["decisions"] for cell in (await self.sums(EPOCH)).values())


def published() -> bytes:
    """Return a snapshot in which version 1 gets everything."""
    arms = tuple(ArmRoute(f"v{n}", "tfs-a", MODEL, n, PARTS if n == 1 else 0) for n in (1, 2, 3))
    return snapshot.encode(
        Snapshot(MODEL, MODEL, EPOCH, 1, 1, unix_now(), Mode.EXPERIMENT, (), 0, 0, arms, False, 0.0, 1.0, 10.0, 1)
    )


@asynccontextmanager
async def planes(folder: Path, store: MemoryStore, stop: asyncio.Event) -> "AsyncIterator[asyncio.Future[Ports]]":
    """Run a data plane beside the test; where it listens is set once it is ready."""
    async with DigitsServer() as server:
        config = validate(Config, configuration(folder, server.address, experiments=[endless()]))
        plane = DataPlane(
            config,
            store=store,
            keys=Keyring([("k1", secrets.token_bytes(32))]),
            metrics=Metrics(),
            unix_now=unix_now,
            is_shared=False,
        )
        ready: asyncio.Future[Ports] = asyncio.get_running_loop().create_future()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(plane.run(on_ready=ready.set_result, stop=stop))
            yield ready
            stop.set()


async def publish(store: MemoryStore) -> None:
    fence = await store.lease("test", unix_now(), 60.0)
    assert fence is not None
    await store.publish(MODEL, 1, published(), fence)


async def test_not_ready_before_its_experiments_are_published(tmp_path: Path) -> None:
    store = HesitantStore()
    await store.open()
    async with planes(tmp_path, store, asyncio.Event()) as ready:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(ready), 0.3)
        await publish(store)
        ports = await asyncio.wait_for(ready, 5.0)
        async with Client.at(ports.grpc, ports.http) as client:
            answer = await client.predict()

    assert answer.arm == "v1"


async def test_counts_made_during_a_flush_survive_the_end(tmp_path: Path) -> None:
    store, stop = HesitantStore(), asyncio.Event()
    await store.open()
    await publish(store)
    async with planes(tmp_path, store, stop) as ready:
        ports = await asyncio.wait_for(ready, 5.0)
        async with Client.at(ports.grpc, ports.http) as client:
            store.may_flush.clear()
            await client.predict()
            await until("a flush under way", lambda: store.waiting)
            await client.predict()
        stop.set()
        await until("the end of the loop that flushes", lambda: store.cancelled)
        store.may_flush.set()

    assert await store.decisions() == 2
