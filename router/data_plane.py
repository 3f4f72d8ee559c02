"""The data plane of one process: fronts, decisions, batching and rewards, beside one loop that talks to the store.

Predictions read memory alone. Every 250 ms the counts go to the store and newer snapshots come back; while the store is
away both wait, and predictions go on with the last snapshot.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from router.backends import dispatchers, pools, slots_max
from router.call_counts import CallCounts
from router.capture.captor import Captor
from router.config import Config
from router.config.fields import split_address
from router.config.tls import grpc_of, https_of
from router.decisions import Keyring
from router.egress import Egress
from router.fronts.access import Access
from router.fronts.decide import DecideRoute
from router.fronts.grpc import GrpcFront
from router.fronts.http import DRAIN_S, HttpFront, serve_front
from router.fronts.rewards import RewardRoutes
from router.fronts.servers import MakeServer
from router.heartbeat import Heartbeat
from router.journal import journal_of
from router.labels import Labels
from router.ledger import Ledger
from router.link import Order, Override
from router.measurements import Measurements
from router.metrics import Metrics
from router.models import Models
from router.predict import Predictor
from router.rewards import RewardDesk
from router.routes import Live, Routes
from router.shadow.mirror import Mirror
from router.spool import spool_of
from router.store import Store
from router.sync import SYNC_S, StoreSync
from router.trials import Trials
from serving.dispatcher import BatchRecord
from serving.gathering import Gathering
from serving.grpc_server import GrpcServer

# The leader publishes once a refresh; what nobody renews says nothing of how many there are now.
_FRESH_S = 10.0


@dataclass(frozen=True, slots=True)
class Ports:
    """Where this process listens."""

    grpc: int
    http: int


class DataPlane:
    """Everything one worker runs. Mutable: its routes, its counts, and whether it is ready."""

    def __init__(
        self,
        config: Config,
        *,
        store: Store,
        keys: Keyring,
        metrics: Metrics,
        unix_now: Callable[[], float],
        is_shared: bool,
        wanted_s: Callable[[], float] = lambda: 0.0,
        make_server: MakeServer = GrpcServer,
    ) -> None:
        """Build all parts inside a running loop; `is_shared` lets other workers listen on the same ports. `wanted_s`: how
        long the loop's thread has run or waited to."""
        self._config = config
        self._store = store
        self._unix_now = unix_now
        self._wanted_s, self._gathering = wanted_s, Gathering()
        self._is_shared = is_shared
        self._metrics = metrics
        self._name = f"gw-{secrets.token_hex(8)}"
        labels = _labels(config)
        self._routes = Routes({name: backend.models for name, backend in config.backends.items()}, labels)
        self._ledger = Ledger()
        self._trials = Trials()
        self._measurements = Measurements(tuple(config.backends), metrics)
        self._calls = CallCounts(self._routes, self._ledger)
        self._upstreams = pools(config, metrics)
        self._dispatchers = dispatchers(config, self._upstreams, self._on_batch)
        for dispatcher in self._dispatchers.values():
            dispatcher.expect(lambda servable: bool(self._routes.arms_of(servable)))
        self._journal = journal_of(config, name=self._name, keys=keys, metrics=metrics, unix_now=unix_now)
        self._egress = Egress({name: backend.egress_usd_per_gib for name, backend in config.backends.items()})
        self._mirror = Mirror(self._dispatchers, metrics, self._measurements.charge, time.perf_counter, self._egress)
        self.captor = Captor(metrics, clock=time.perf_counter, unix_now=unix_now)
        self._spool = spool_of(config, store=store, metrics=metrics, unix_now=unix_now)
        self._predictor = self._deciding(keys)
        self._grpc, self._http = self._fronts(keys, make_server)
        self._sync = self._store_sync(labels)
        self._workers = 1  # as far as is known: of all gateways

    def _deciding(self, keys: Keyring) -> Predictor:
        return Predictor(
            routes=self._routes,
            dispatchers=self._dispatchers,
            keys=keys,
            ledger=self._ledger,
            trials=self._trials,
            metrics=self._metrics,
            egress=self._egress,
            retry_ratio=self._config.limits.retry_budget,
            unix_now=self._unix_now,
            clock=time.perf_counter,
            journal=self._journal,
            ejections=self._measurements.ejections,
            mirror=self._mirror,
            captor=self.captor,
        )

    def _store_sync(self, labels: Labels) -> StoreSync:
        return StoreSync(
            self._store,
            self._name,
            routes=self._routes,
            labels=labels,
            ledger=self._ledger,
            trials=self._trials,
            beat=self._beat,
            unix_now=self._unix_now,
        )

    def _on_batch(self, record: BatchRecord) -> None:
        self._measurements.on_batch(record)
        self._calls.on_batch(record)
        replicas = self._upstreams.replicas[record.servable.backend]
        replicas.ended(record.replica, is_fault=record.is_replicas_fault, asked=record.servable)

    def _fronts(self, keys: Keyring, make_server: MakeServer) -> tuple[GrpcFront, HttpFront]:
        config, metrics = self._config, self._metrics
        access = Access(
            token_sha256=[token.sha256 for token in config.admin.tokens],
            is_reward_open=config.rewards.auth == "none",
        )
        models = Models(routes=self._routes, upstreams=self._upstreams.in_use())
        grpc = GrpcFront(
            predictor=self._predictor,
            models=models,
            metrics=metrics,
            message_bytes=config.limits.message_bytes,
            is_shared=self._is_shared,
            connection_age_s=config.listen.connection_age,
            make_server=make_server,
        )
        http = HttpFront(
            predictor=self._predictor,
            models=models,
            rewards=RewardRoutes(
                rewards=RewardDesk(
                    keys=keys,
                    routes=self._routes,
                    store=self._store,
                    metrics=metrics,
                    unix_now=self._unix_now,
                    ledger=self._ledger,
                    calls=self._measurements.reward_calls,
                    journal=self._journal,
                    spool=self._spool,
                ),
                access=access,
                message_bytes=config.limits.message_bytes,
                durability=config.durability,
            ),
            decide=DecideRoute(predictor=self._predictor, access=access, is_on=config.listen.decide),
            metrics=metrics,
            message_bytes=config.limits.message_bytes,
            is_cors=config.listen.cors,
            connection_age_s=config.listen.connection_age,
        )
        return grpc, http

    def obey(self, order: Order) -> None:
        """Obey the control process, whatever the snapshots say."""
        if isinstance(order, Override):
            self._routes.override(order)
        else:
            self.captor.obey(order)

    async def run(self, *, on_ready: Callable[[Ports], None], stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then drain; OSError if a port can't be had."""
        host, port = split_address(self._config.listen.http)
        await self._sync.await_experiments([one.name for one in self._config.experiments], stop)
        async with contextlib.AsyncExitStack() as stack:
            if self._journal is not None:
                self._journal.start()
                stack.push_async_callback(self._journal.close)
            if self._spool is not None:
                await self._spool.open()
                stack.push_async_callback(self._spool.close)
            stack.push_async_callback(self._upstreams.close)
            await self._upstreams.look_up()
            for dispatcher in self._dispatchers.values():
                await stack.enter_async_context(dispatcher)
            await stack.enter_async_context(self._mirror)
            tls = self._config.tls
            runner, http = await serve_front(self._http, host, port, is_shared=self._is_shared, tls=https_of(tls.http))
            stack.push_async_callback(runner.cleanup)
            grpc = await self._grpc.server.start(self._config.listen.grpc, credentials=grpc_of(tls.grpc))
            stack.push_async_callback(self._grpc.server.stop, DRAIN_S)
            async with asyncio.TaskGroup() as tasks:
                sync = tasks.create_task(self._exchange(), name="sync with the store")
                beside = [sync, tasks.create_task(self._upstreams.run(), name="replicas")]
                beside += [tasks.create_task(one.run(), name="spool") for one in (self._spool,) if one]
                self._instruct()
                await self._set_ready(is_ready=True)
                on_ready(Ports(grpc, http))
                await stop.wait()
                await self._set_ready(is_ready=False)
                # Both at once: neither front takes new connections while the other ends what is under way.
                async with asyncio.TaskGroup() as fronts:
                    fronts.create_task(self._grpc.server.stop(DRAIN_S), name="drain gRPC")
                    fronts.create_task(runner.cleanup(), name="drain HTTP")
                for task in beside:
                    task.cancel()
        await self._sync.finish()

    async def _set_ready(self, *, is_ready: bool) -> None:
        self._http.is_ready = is_ready
        await self._grpc.server.set_serving(is_ready)

    async def _exchange(self) -> None:
        """Exchange news with the store for ever, and show what is not counted where it happens."""
        while True:
            await asyncio.sleep(SYNC_S)
            self._metrics.store_up.set(int(await self._sync.exchange()))
            self._instruct()
            gather_s = self._gathering.heard(self._wanted_s(), time.monotonic())
            for backend, dispatcher in self._dispatchers.items():
                dispatcher.gather(gather_s)
                self._measurements.show(backend, dispatcher)
            for live in self._routes.by_model.values():
                age_s = max(0.0, self._unix_now() - live.snapshot.published_at)
                self._metrics.snapshot_age_seconds.labels(live.snapshot.name).set(age_s)
                if live.mode.is_learned:
                    self._measurements.ask_for_probes(live, self._dispatchers)

    def _instruct(self) -> None:
        """Tell the dispatchers what the leader has found out: what must not be merged, and how many of us there are."""
        apart = self._routes.apart()
        fresh = [
            live.snapshot.workers
            for live in self._routes.by_model.values()
            # 0: the leader has heard nobody lately, and what was known stands.
            if live.snapshot.workers and self._unix_now() - live.snapshot.published_at < _FRESH_S
        ]
        self._workers = max(fresh, default=self._workers)
        for backend, dispatcher in self._dispatchers.items():
            dispatcher.keep_apart(apart.get(backend, ()))
            dispatcher.limit(slots_max(self._config, backend, self._workers))

    def _beat(self, lives: list[Live]) -> Heartbeat:
        busy_ns = {name: dispatcher.busy_ns() for name, dispatcher in self._dispatchers.items()}
        beat = self._measurements.heartbeat(lives, self._predictor.in_flight, busy_ns)
        away = tuple(name for name, replicas in self._upstreams.replicas.items() if not replicas.is_any_in)
        waits = self._spool is not None and not self._spool.is_empty
        shadows, egress = self._mirror.beat(lives), self._egress.sent()
        return msgspec.structs.replace(beat, away=away, is_spooling=waits, shadows=shadows, egress=egress)


def _labels(config: Config) -> Labels:
    """Begin with the labels that backends are configured with."""
    models = {name: backend.models for name, backend in config.backends.items()}
    return Labels({(name, model): files.labels for name, found in models.items() for model, files in found.items()})
