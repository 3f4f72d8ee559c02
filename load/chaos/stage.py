"""The processes of one case, and its clients: started in order, and ended whatever happened."""

import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from load.chaos.books import read_books, read_token
from load.chaos.checker import Verdict, counted_in, judge
from load.chaos.clients import Predictions
from load.chaos.gateway import KEYS, WINDOW, Gateway, configuration
from load.chaos.payers import Payers
from load.chaos.proxy import Proxy, proxy_to
from load.chaos.redis_process import RedisProcess
from load.chaos.waiting import until
from load.demo import processes
from load.demo.processes import Child
from load.ports import free_ports
from router.store import StoreError, open_store

_READY_S: Final = 20.0
# Enough for a volley of 300 rewards: 33 alone, 34 in calls of 8.
CLIENTS: Final = 72


class ModelServer:
    """One stand-in for a model server. Mutable: its process."""

    def __init__(self, folder: Path, name: str) -> None:
        (self.port,) = free_ports(1)
        self._name, self._log = name, folder / f"{name}.log"
        self._child: Child | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def child(self) -> Child:
        """Its process."""
        if self._child is None:
            raise ValueError(f"{self._name} was not started")
        return self._child

    async def start(self) -> None:
        """Start it and wait until it listens."""
        command = [sys.executable, "-P", "-m", "load.chaos.model_server", str(self.port)]
        self._child = await processes.start(self._name, command, self._log)
        await processes.until(self._child, self._listens, _READY_S)

    async def end(self) -> None:
        """End it in order."""
        if self._child is not None:
            await processes.end(self._child)

    async def _listens(self) -> bool:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.close()
            return True
        return False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a case needs. `proxied`: where a proxy stands, "store" or "backend" (before the first model server)."""

    store: str = "sqlite"
    gateways: int = 1
    workers: int = 1
    backends: int = 1
    # Predictions/s over all gateways: what two cores bear beside the clients.
    rate: float = 200.0
    proxied: frozenset[str] = frozenset()
    # Where a Redis listens that is not among our own processes' ports, and what begins its command.
    redis_host: str = "127.0.0.1"
    redis_prefix: tuple[str, ...] = ()
    # How long after their decision rewards are taken.
    window: str = WINDOW


@dataclass(slots=True)
class Stage:
    """Everything that runs. `store_proxies` are one a gateway, in their order."""

    folder: Path
    store_url: str
    redis: RedisProcess | None
    servers: list[ModelServer]
    gateways: list[Gateway]
    store_proxies: list[Proxy]
    backend_proxy: Proxy | None
    predictions: Predictions
    payers: Payers

    @property
    def gateway(self) -> Gateway:
        """The first gateway."""
        return self.gateways[0]

    @property
    def the_redis(self) -> RedisProcess:
        """The Redis, of a stage that has one."""
        if self.redis is None:
            raise ValueError("this stage has no Redis")
        return self.redis

    async def decisions(self, count: int, limit_s: float = 60.0) -> list[str]:
        """Wait until so many decisions have no reward yet, and take them."""
        stock = self.predictions.stock
        await until(f"{count} decisions", lambda: len(stock) >= count, limit_s)
        return [stock.popleft() for _ in range(count)]

    async def verdict(self) -> Verdict:
        """Hold the books against the store, as both are now; raises StoreError."""
        lines = list(read_books(self.folder / "books"))
        epochs = {read_token(line.decision).epoch for line in lines}
        store = open_store(self.store_url)
        await store.open()
        try:
            return judge(lines, await counted_in(store, sorted(epochs)))
        finally:
            await store.close()

    async def learned(self) -> int:
        """Return how many rewards of those in the books the store has learned from; raises StoreError."""
        epochs = {read_token(line.decision).epoch for line in read_books(self.folder / "books")}
        store = open_store(self.store_url)
        await store.open()
        try:
            counted = await counted_in(store, sorted(epochs))
            return sum(sums.rewards for key, sums in counted.items() if key.is_learned)
        finally:
            await store.close()

    async def caught_up(self, limit_s: float) -> tuple[float, Verdict]:
        """Wait until the store counts what was acknowledged; return after how many seconds, and the last verdict."""
        loop = asyncio.get_running_loop()
        began, verdict = loop.time(), None
        while verdict is None or not verdict.holds:
            if verdict is not None and loop.time() > began + limit_s:
                break
            try:
                verdict = await self.verdict()
            except StoreError:
                if loop.time() > began + limit_s:
                    raise
            await asyncio.sleep(0.05)
        return loop.time() - began, verdict


@contextlib.asynccontextmanager
async def staged(folder: Path, plan: Plan, rng: random.Random) -> AsyncIterator[Stage]:
    """Start everything, wait until the experiment runs, and send predictions until the end."""
    async with contextlib.AsyncExitStack() as stack:
        servers = [ModelServer(folder, f"model-server-{number}") for number in range(plan.backends)]
        for server in servers:
            stack.push_async_callback(server.end)
            await server.start()
        targets = [server.address for server in servers]
        backend_proxy = None
        if "backend" in plan.proxied:
            backend_proxy = await stack.enter_async_context(proxy_to(servers[0].port))
            targets[0] = f"127.0.0.1:{backend_proxy.port}"
        redis = None
        store_url = f"sqlite://{folder}/store/turpin.db"
        if plan.store == "redis":
            redis = RedisProcess(folder / "redis", host=plan.redis_host, prefix=plan.redis_prefix)
            stack.push_async_callback(redis.end)
            await redis.start()
            store_url = f"{redis.url}?timeout_ms=5000"
        gateways, store_proxies = [], []
        for number in range(plan.gateways):
            url = redis.url if redis else store_url
            if redis and "store" in plan.proxied:
                store_proxies.append(await stack.enter_async_context(proxy_to(redis.port)))
                url = f"redis://127.0.0.1:{store_proxies[-1].port}"
            gateway = _gateway(folder, f"gateway-{number}", url, targets, plan)
            stack.push_async_callback(gateway.end)
            gateways.append(gateway)
            await gateway.start()
        payers = Payers([one.http for one in gateways], folder / "books", CLIENTS, rng)
        stack.push_async_callback(payers.close)
        predictions = Predictions([one.grpc for one in gateways], plan.rate)
        stack.push_async_callback(predictions.close)
        stage = Stage(folder, store_url, redis, servers, gateways, store_proxies, backend_proxy, predictions, payers)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(predictions.run(), name="predictions")
            try:
                yield stage
            finally:
                predictions.is_over = True


def _gateway(folder: Path, name: str, url: str, targets: list[str], plan: Plan) -> Gateway:
    """Return a gateway that was not started yet."""
    shared: dict[str, Any] = {"spool": {"folder": f"{folder}/{name}-spool"}, "decision_keys": list(KEYS)}
    document = configuration(url, targets, plan.window, **shared)
    return Gateway(folder, name, document, workers=plan.workers)
