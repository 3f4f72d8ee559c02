"""A worker of a gateway, of the real parts but for its fronts: clients call its methods."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import msgspec

from router.call_counts import CallCounts
from router.config import Config
from router.heartbeat import Heartbeat
from router.labels import Labels
from router.ledger import Ledger
from router.measurements import Measurements
from router.metrics import Metrics
from router.predict import Context, Predictor, Reply
from router.rewards import Claim, Outcome, RewardDesk
from router.routes import Live, Routes
from router.spool import Spool
from router.spool.file import SpoolFiles
from router.store import Cell, Store
from router.sync import SYNC_S, StoreSync
from router.trials import Trials
from serving.dispatcher import BatchRecord, Dispatcher
from tests.inline_lane import InlineLane
from tests.simulated_disk import SimulatedDisk
from tests.simulation.door import Door
from tests.simulation.server import Server
from tests.simulation.settings import BACKEND, LIMITS, MODEL, SPOOL_BYTES, keyring

T = TypeVar("T")
FOLDER: Final = Path("/spool")
# The time of a disk that syncs.
_SYNC_S: Final = (0.001, 0.01)


class ConnectionLost(Exception):
    """The process died before it answered, or was not there."""


class CountingLedger(Ledger):
    """A ledger that remembers all that was ever added. Mutable: that, too."""

    def __init__(self) -> None:
        super().__init__()
        self.added: Counter[tuple[Cell, str]] = Counter()

    def add(self, cell: Cell, **fields: int) -> None:
        for name, number in fields.items():
            self.added[cell, name] += number
        super().add(cell, **fields)

    def unsent(self, last: int) -> Counter[tuple[Cell, str]]:
        """What of it a store has not, that has counted this worker's parcels up to number `last`."""
        left: Counter[tuple[Cell, str]] = Counter()
        parcels: list[dict[Cell, Any]] = [dict(self._open)]
        if self._sent is not None and self._sent.sequence > last:
            parcels.append(self._sent.deltas)
        for parcel in parcels:
            for cell, fields in parcel.items():
                for name, number in fields.items():
                    left[cell, name] += number
        return left


# One for all, as making one takes longer than all else at the start of a worker; nothing here looks at it.
_METRICS: Final = Metrics()


class Worker:
    """Mutable: all that its parts hold, and whether it is ready, or dead."""

    def __init__(
        self, name: str, config: Config, door: Door, disk: SimulatedDisk, server: Server, unix_now: Callable[[], float]
    ) -> None:
        loop, keys, store = asyncio.get_running_loop(), keyring(), cast("Store", door)
        self.name, self.door, self.disk = name, door, disk
        self._config = config
        self._rng = door.rng
        self.is_ready = False
        self.ledger = CountingLedger()
        labels, trials, self._measurements = Labels({}), Trials(), Measurements((BACKEND,), _METRICS)
        self.routes = Routes({BACKEND: (MODEL,)}, labels)
        self._calls = CallCounts(self.routes, self.ledger)
        self._dispatchers = {BACKEND: Dispatcher([server], LIMITS, on_batch=self._on_batch)}
        self.spool = Spool(FOLDER, SPOOL_BYTES, store=store, metrics=_METRICS, unix_now=unix_now)
        files = InlineLane(SpoolFiles(FOLDER, SPOOL_BYTES, disk), lambda: self._rng.uniform(*_SYNC_S))
        self.spool._lane = cast("Any", files)
        self._predictor = Predictor(
            routes=self.routes,
            dispatchers=self._dispatchers,
            keys=keys,
            ledger=self.ledger,
            trials=trials,
            metrics=_METRICS,
            retry_ratio=0.2,
            unix_now=unix_now,
            clock=loop.time,
            ejections=self._measurements.ejections,
        )
        self._desk = RewardDesk(
            keys=keys,
            routes=self.routes,
            store=store,
            metrics=_METRICS,
            unix_now=unix_now,
            ledger=self.ledger,
            calls=self._measurements.reward_calls,
            spool=self.spool,
        )
        self.sync = StoreSync(
            store,
            name,
            routes=self.routes,
            labels=labels,
            ledger=self.ledger,
            trials=trials,
            beat=self._beat,
            unix_now=unix_now,
        )

    @property
    def is_dead(self) -> bool:
        """Whether it was killed."""
        return self.door.is_dead

    def _on_batch(self, record: BatchRecord) -> None:
        self._measurements.on_batch(record)
        self._calls.on_batch(record)

    def _beat(self, lives: list[Live]) -> Heartbeat:
        beat = self._measurements.heartbeat(lives, self._predictor.in_flight)
        return msgspec.structs.replace(beat, is_spooling=not self.spool.is_empty)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`, as DataPlane does, or until it is killed."""
        await self.sync.await_experiments([one.name for one in self._config.experiments], stop)
        await self.spool.open()
        async with self._dispatchers[BACKEND], asyncio.TaskGroup() as tasks:
            beside = [tasks.create_task(self._exchange()), tasks.create_task(self.spool.run())]
            self.is_ready = True
            await stop.wait()
            self.is_ready = False
            await self._dispatchers[BACKEND].drain(5.0)
            for task in beside:
                task.cancel()
        await self.spool.close()
        await self.sync.finish()

    async def _exchange(self) -> None:
        while True:
            await asyncio.sleep(SYNC_S)
            await self.sync.exchange()

    async def predict(self, body: bytes, context: Context) -> Reply:
        """Answer a request; ServingError, or ConnectionLost."""
        return await self._answered(self._predictor.predict(body, context))

    async def record(self, claims: Sequence[Claim]) -> list[Outcome]:
        """Record rewards; ConnectionLost."""
        return await self._answered(self._desk.record(claims))

    async def _answered(self, work: Awaitable[T]) -> T:
        """What a dead process would have answered is not heard; nor is anything while it is paused."""
        try:
            found = await work
        finally:
            if not self.is_dead:
                await self.door.awake.wait()
            if self.is_dead:
                raise ConnectionLost
        return found
