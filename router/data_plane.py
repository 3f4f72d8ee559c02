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
from typing import Final

import msgspec
import structlog

from router import heartbeat, snapshot
from router.backends import dispatchers, pools
from router.call_counts import CallCounts
from router.config import Config
from router.config.fields import split_address
from router.config.tls import grpc_of, https_of
from router.decisions import Keyring
from router.fronts.access import Access
from router.fronts.decide import DecideRoute
from router.fronts.grpc import GrpcFront
from router.fronts.http import DRAIN_S, HttpFront, serve_http
from router.fronts.rewards import RewardRoutes
from router.heartbeat import Heartbeat
from router.journal import journal_of
from router.labels import Labels
from router.ledger import Ledger
from router.link import Override
from router.measurements import Measurements
from router.metrics import Metrics
from router.models import Models
from router.predict import Predictor
from router.rewards import RewardDesk
from router.routes import Live, Routes
from router.shadow.mirror import Mirror
from router.spool import spool_of
from router.store import Store, StoreUnavailable
from router.trials import Trials
from serving.dispatcher import BatchRecord

log = structlog.get_logger(__name__)

# Design §2: a lag up to 1 s costs no regret that could be measured (bandit-science.md §7).
SYNC_S: Final = 0.25
# A dead leader's lease runs out within 3 s, and its successor publishes in its first turn; three times as much hangs.
_PUBLISHED_S: Final = 10.0
_PUBLISHED_LOOK_S: Final = 0.02


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
    ) -> None:
        """Build all parts inside a running loop; `is_shared` lets other workers listen on the same ports."""
        self._config = config
        self._store = store
        self._unix_now = unix_now
        self._is_shared = is_shared
        self._metrics = metrics
        self._name = f"gw-{secrets.token_hex(8)}"
        self._is_store_away = False
        self._labels = _labels(config)
        self._routes = Routes({name: backend.models for name, backend in config.backends.items()}, self._labels)
        self._ledger = Ledger()
        self._trials = Trials()
        self._measurements = Measurements(tuple(config.backends), metrics)
        self._calls = CallCounts(self._routes, self._ledger)
        self._upstreams = pools(config, metrics)
        self._dispatchers = dispatchers(config, self._upstreams, self._on_batch)
        self._journal = journal_of(config, name=self._name, keys=keys, metrics=metrics, unix_now=unix_now)
        egress_usd_per_gib = {name: backend.egress_usd_per_gib for name, backend in config.backends.items()}
        self._mirror = Mirror(
            self._dispatchers, metrics, self._measurements.charge, time.perf_counter, egress_usd_per_gib
        )
        self._spool = spool_of(config, store=store, metrics=metrics, unix_now=unix_now)
        self._predictor = Predictor(
            routes=self._routes,
            dispatchers=self._dispatchers,
            keys=keys,
            ledger=self._ledger,
            trials=self._trials,
            metrics=metrics,
            egress_usd_per_gib=egress_usd_per_gib,
            retry_ratio=config.limits.retry_budget,
            unix_now=unix_now,
            clock=time.perf_counter,
            journal=self._journal,
            ejections=self._measurements.ejections,
            mirror=self._mirror,
        )
        self._grpc, self._http = self._fronts(keys)

    def _on_batch(self, record: BatchRecord) -> None:
        self._measurements.on_batch(record)
        self._calls.on_batch(record)
        self._upstreams.replicas[record.servable.backend].ended(record.replica, is_fault=record.is_replicas_fault)

    def _fronts(self, keys: Keyring) -> tuple[GrpcFront, HttpFront]:
        config, metrics = self._config, self._metrics
        access = Access(
            token_sha256=[token.sha256 for token in config.admin.tokens],
            is_reward_open=config.rewards.auth == "none",
        )
        models = Models(routes=self._routes, upstreams=self._upstreams)
        grpc = GrpcFront(
            predictor=self._predictor,
            models=models,
            metrics=metrics,
            message_bytes=config.limits.message_bytes,
            is_shared=self._is_shared,
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
        )
        return grpc, http

    def override(self, order: Override) -> None:
        """Obey the control process, whatever the snapshots say."""
        self._routes.override(order)

    async def run(self, *, on_ready: Callable[[Ports], None], stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then drain; OSError if a port can't be had."""
        host, port = split_address(self._config.listen.http)
        await self._await_experiments(stop)
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
            runner, http = await serve_http(
                self._http.application(), host, port, is_shared=self._is_shared, tls=https_of(tls.http)
            )
            stack.push_async_callback(runner.cleanup)
            grpc = await self._grpc.server.start(self._config.listen.grpc, credentials=grpc_of(tls.grpc))
            stack.push_async_callback(self._grpc.server.stop, DRAIN_S)
            async with asyncio.TaskGroup() as tasks:
                sync = tasks.create_task(self._sync(), name="sync with the store")
                beside = [sync, tasks.create_task(self._upstreams.run(), name="replicas")]
                beside += [tasks.create_task(one.run(), name="spool") for one in (self._spool,) if one]
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
        # Twice: the first may be the parcel whose answer was still awaited when `sync` was cancelled.
        if await self._flush(is_last=True):
            await self._flush(is_last=True)

    async def _await_experiments(self, stop: asyncio.Event) -> None:
        """Wait until every experiment of the configuration is published: undecided, its requests would go to whatever
        version is the latest. A leader of another configuration never does; then it is better to serve than to wait.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + _PUBLISHED_S
        while True:
            await self._read_snapshots()
            known = {live.snapshot.name for live in self._routes.by_model.values()}
            missing = [one.name for one in self._config.experiments if one.name not in known]
            if not missing or stop.is_set():
                return
            if loop.time() > give_up_at:
                log.warning("experiments not published: their requests pass through undecided", experiments=missing)
                return
            await asyncio.sleep(_PUBLISHED_LOOK_S)

    async def _set_ready(self, *, is_ready: bool) -> None:
        self._http.is_ready = is_ready
        await self._grpc.server.set_serving(is_ready)

    async def _sync(self) -> None:
        """Flush and refresh for ever; a store that is away is said once, and once more when it is back."""
        while True:
            await asyncio.sleep(SYNC_S)
            is_up = await self._flush() and await self._read_snapshots()
            self._metrics.store_up.set(int(is_up))
            for backend, dispatcher in self._dispatchers.items():
                self._measurements.show(backend, dispatcher)
            for live in self._routes.by_model.values():
                age_s = max(0.0, self._unix_now() - live.snapshot.published_at)
                self._metrics.snapshot_age_seconds.labels(live.snapshot.name).set(age_s)
                if live.mode.is_learned:
                    self._measurements.ask_for_probes(live, self._dispatchers)

    def _note_store(self, *, away: str) -> None:
        """Log when the store goes away, and when it is back; not each time it is asked in vain."""
        if bool(away) == self._is_store_away:
            return
        self._is_store_away = bool(away)
        if away:
            log.warning("store unavailable: predictions go on with the last snapshot, counts wait", reason=away)
        else:
            log.info("store back")

    async def _count_trials(self) -> None:
        """Tell the store of units that are new here; those it knew are counted with what is not learned from."""
        while trials := self._trials.waiting():
            results = await self._store.add_rewards(trials)
            for cell in self._trials.settle(trials, results):
                self._ledger.add(cell, unlearned_decisions=1)

    def _beat(self, lives: list[Live]) -> Heartbeat:
        busy_ns = {name: dispatcher.busy_ns() for name, dispatcher in self._dispatchers.items()}
        beat = self._measurements.heartbeat(lives, self._predictor.in_flight, busy_ns)
        away = tuple(name for name, replicas in self._upstreams.replicas.items() if not replicas.is_any_in)
        waits = self._spool is not None and not self._spool.is_empty
        return msgspec.structs.replace(beat, away=away, is_spooling=waits, shadows=self._mirror.beat(lives))

    async def _flush(self, *, is_last: bool = False) -> bool:
        lives = list(self._routes.by_model.values())
        beat = b"" if is_last else heartbeat.encode(self._beat(lives))
        try:
            await self._count_trials()
            parcel = self._ledger.parcel()
            await self._store.flush(self._name, parcel.sequence, parcel.deltas, beat, self._unix_now())
        except StoreUnavailable as error:
            self._note_store(away=str(error))
            return False
        self._ledger.confirm(parcel)
        return True

    async def _read_snapshots(self) -> bool:
        try:
            published = await self._store.snapshots()
            self._labels.update(await self._store.backends())
        except StoreUnavailable as error:
            self._note_store(away=str(error))
            return False
        self._note_store(away="")
        for name, (_, raw) in published.items():
            try:
                self._routes.update(snapshot.decode(raw))
            except msgspec.ValidationError as error:
                log.error("snapshot not readable: is this gateway older than the leader?", name=name, reason=str(error))
        self._routes.keep(published)
        return True


def _labels(config: Config) -> Labels:
    """Begin with the labels that backends are configured with."""
    models = {name: backend.models for name, backend in config.backends.items()}
    return Labels({(name, model): files.labels for name, found in models.items() for model, files in found.items()})
