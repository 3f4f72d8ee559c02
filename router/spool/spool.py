"""The spool of one process: rewards go in while the store is away, and out when it is back, still once each.

The store remembers pairs for SPOOL_AGE_S longer than it would have to. So a reward that was counted after all before it
was spooled, or that is drained twice because its process died in between, is a duplicate and counts once.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from router.config import Config
from router.metrics import Metrics
from router.spool.counting import settled
from router.spool.entries import SPOOL_AGE_S, Parcel, Spooled, frame_of
from router.spool.file import SpoolFiles, SpoolFull
from router.store import RewardResult, Store, StoreError, StoreUnavailable
from router.store.lane import Job, Lane

log = logging.getLogger(__name__)

# How soon rewards that wait are tried: far below the 5 s in which all is to be caught up.
_PAUSE_S: Final = 0.25
# Rewards that go to the store in one call.
_PARCEL_REWARDS: Final = 1000
# How often the files of processes that died are looked for.
_ADOPT_S: Final = 2.0


class Spool:
    """Mutable: since when the oldest reward waits, how many bytes did when it was last looked, who puts rewards now, and why
    the store refused them last, how often in a row."""

    def __init__(
        self, folder: Path, bytes_max: int, *, store: Store, metrics: Metrics, unix_now: Callable[[], float]
    ) -> None:
        self._folder = folder
        self._store = store
        self._metrics = metrics
        self._unix_now = unix_now
        self._lane: Lane[SpoolFiles] = Lane(f"the spool in {folder}", SpoolFiles(folder, bytes_max))
        self._oldest_at: float | None = None
        self._waiting_bytes = 0
        self._puts = 0
        self._putting = 0
        self._refused = ""
        self._refusals = 0
        # At 0: a counter that begins with its first event hides that from `increase`, and from the alert.
        metrics.spool_rewards.labels("overdue")

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits here."""
        return self._waiting_bytes == 0 and self._oldest_at is None

    async def open(self) -> None:
        """Make the folder, and find what earlier processes left. Raises StoreUnopenable."""
        await self._lane.open()
        await self._look()

    async def close(self) -> None:
        """Leave what waits to the next process."""
        await self._lane.close()

    async def put(self, entries: Sequence[Spooled]) -> None:
        """Keep rewards; they are on the disk when it returns. Raises StoreUnavailable: full, too old, or no disk."""
        now = self._unix_now()
        if self._oldest_at is not None and now - self._oldest_at > SPOOL_AGE_S:
            raise SpoolFull(
                f"the oldest reward in the spool has waited for {now - self._oldest_at:.0f} s for the store"
            )
        frame = frame_of(entries, now)
        self._puts += 1
        self._putting += 1
        try:
            await self._lane.ask(Job(partial(SpoolFiles.append, frame=frame), [entry.reward for entry in entries]))
        finally:
            self._putting -= 1
        if self._oldest_at is None:
            self._oldest_at = now

    async def run(self) -> None:
        """Bring what waits to the store, for ever."""
        loop = asyncio.get_running_loop()
        look_at = loop.time()
        while True:
            if loop.time() >= look_at:
                with contextlib.suppress(StoreUnavailable):
                    await self._look()
                look_at = loop.time() + _ADOPT_S
            await self.drain()
            await asyncio.sleep(_PAUSE_S)

    async def drain(self) -> None:
        """Bring what waits to the store, until nothing does or the store is away."""
        if self.is_empty:
            return
        counted = 0
        try:
            while True:
                # What somebody puts meanwhile may not be found yet, and be safe before we hear that nothing waits.
                is_quiet, puts = not self._putting, self._puts
                parcel = await self._lane.ask(Job(_oldest))
                if parcel is None:
                    break
                self._oldest_at = parcel.taken_at
                counted += await self._count(parcel)
                self._taken()
                await self._lane.ask(Job(partial(SpoolFiles.done, parcel=parcel)))
            if is_quiet and puts == self._puts:
                self._oldest_at = None
            await self._look()
        except StoreUnavailable:
            return
        except StoreError as error:
            self._refused_by(error)
        finally:
            if counted:
                log.info("spooled rewards are in the store", extra={"rewards": counted})

    def _refused_by(self, error: StoreError) -> None:
        """Say why the store refuses what waits: once for each reason, for it is tried four times a second."""
        self._refusals += 1
        if str(error) != self._refused:
            log.error("the store refused spooled rewards: they wait", exc_info=error)
            self._refused = str(error)

    def _taken(self) -> None:
        if self._refusals:
            log.info("the store takes spooled rewards again", extra={"refusals": self._refusals})
        self._refused, self._refusals = "", 0

    async def _count(self, parcel: Parcel) -> int:
        """Count a parcel's rewards; those whose pair the store may have forgotten are set aside."""
        now = self._unix_now()
        overdue = [entry for entry in parcel.entries if entry.reward.expires_at <= now]
        entries = [entry for entry in parcel.entries if entry.reward.expires_at > now]
        # First, for it may have to be tried again and again, and what is set aside is set aside once.
        results = await self._store.add_rewards(await settled(self._store, entries)) if entries else []
        if overdue:
            log.error(
                "spooled rewards are too old to be counted once for certain: set aside",
                extra={"folder": str(self._folder), "rewards": len(overdue)},
            )
            await self._lane.ask(Job(partial(SpoolFiles.set_aside, entries=overdue)))
            self._metrics.spool_rewards.labels("overdue").inc(len(overdue))
        for result in RewardResult:
            self._metrics.spool_rewards.labels(result.value).inc(results.count(result))
        return len(results)

    async def _look(self) -> None:
        self._waiting_bytes = await self._lane.ask(Job(SpoolFiles.adopt))
        self._metrics.spool_bytes.set(self._waiting_bytes)


def _oldest(files: SpoolFiles) -> Parcel | None:
    return files.oldest(_PARCEL_REWARDS)


def spool_of(config: Config, *, store: Store, metrics: Metrics, unix_now: Callable[[], float]) -> Spool | None:
    """Return the spool of a process as configured, not yet open; None where rewards are refused instead."""
    folder = config.spool_folder()
    if folder is None:
        return None
    # Together no more than what may be taken.
    return Spool(folder, config.spool.max_bytes // config.workers, store=store, metrics=metrics, unix_now=unix_now)
