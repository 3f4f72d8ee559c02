"""A thread that asyncio callers hand work to: bounded, in groups, and never broken by a caller that goes away.

What arrives while a group is under way forms the next group, so that slow work (a commit's fsync) is shared by all who
wait for it. Callers may live on any number of event loops.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, Protocol, TypeVar

from router.store.contract import CALL_TIMEOUT_S, Reward, StoreError, StoreUnavailable

log = logging.getLogger(__name__)

# About a second of rewards at the 15,000/s that a store must bear. Who would wait longer is better told to come again.
QUEUE_REWARDS = 16_384
# Calls that carry no rewards (lease, snapshots, flushes) keep places of their own: rewards can't lock them out.
QUEUE_CALLS = QUEUE_REWARDS + 256
# Groups beyond this gain nothing more from sharing an fsync, and keep their first caller waiting for longer.
GROUP_REWARDS = 1024
GROUP_CALLS = 1024

Scope = TypeVar("Scope")
Result_co = TypeVar("Result_co", covariant=True)


class Job(Generic[Scope, Result_co]):
    """One call on its way through a lane. Mutable: `outcome`, set by the lane's thread alone."""

    __slots__ = ("_future", "_loop", "_run", "outcome", "rewards")

    def __init__(self, run: Callable[[Scope], Result_co], rewards: Sequence[Reward] = ()) -> None:
        self._run = run
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Result_co] = self._loop.create_future()
        self.rewards = rewards
        self.outcome: Result_co | Exception | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the caller."""
        return self._loop

    @property
    def is_abandoned(self) -> bool:
        """Whether the caller has gone: cancelled, or out of time."""
        return self._future.done()

    def perform(self, scope: Scope) -> None:
        """Run the call and keep its result, or the StoreError it refuses with; any other exception is raised."""
        try:
            self.outcome = self._run(scope)
        except StoreError as refusal:
            self.outcome = refusal

    async def wait(self) -> Result_co:
        """Return the result once it is delivered. The deadline is the caller's."""
        return await self._future

    def deliver(self) -> None:
        """Wake the caller with the outcome; on the caller's loop only."""
        if self._future.done():
            return
        if isinstance(self.outcome, Exception):
            self._future.set_exception(self.outcome)
            self._future.exception()  # Counts as retrieved: a caller cancelled just now won't, and asyncio would complain.
        else:
            self._future.set_result(self.outcome)  # type: ignore[arg-type]  # None is a result when the call has none.


class Worker(Protocol[Scope]):
    """What a lane's thread does; all its methods are called on that thread."""

    def open(self) -> None:
        """Get ready; raises StoreError when that can't be."""

    def perform(self, group: Sequence[Job[Scope, object]]) -> None:
        """Give every job of the group its outcome."""

    def close(self) -> None:
        """Let go of everything, also after an `open` that failed half-way."""


class Lane(Generic[Scope]):
    """The thread and its bounded queue. Mutable: the queue, its sum of rewards, and whether it is closing; all locked."""

    def __init__(self, name: str, worker: Worker[Scope], timeout_s: float = CALL_TIMEOUT_S) -> None:
        self._name = name
        self._timeout_s = timeout_s
        self._worker = worker
        self._changed = threading.Condition()
        self._queue: deque[Job[Scope, object]] = deque()
        self._queued_rewards = 0
        self._is_closing = True
        self._thread: threading.Thread | None = None

    async def open(self) -> None:
        """Start the thread and let its worker get ready. Raises what the worker raises, or StoreUnavailable."""
        assert self._is_closing, f"{self._name} is open already"  # noqa: S101 - one open for one close
        opening: Job[Worker[Scope], None] = Job(lambda worker: worker.open())
        self._is_closing = False
        # A daemon: a disk that never answers must not keep the process from ending.
        self._thread = threading.Thread(target=self._live, args=(opening,), name=self._name, daemon=True)
        self._thread.start()
        try:
            await self._wait(opening)
        except BaseException:
            self._end()
            raise

    async def close(self) -> None:
        """Finish what is queued and end the thread; a thread that can't end in time is left behind."""
        self._end()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, self._timeout_s)

    async def ask(self, job: Job[Scope, Result_co]) -> Result_co:
        """Queue a job and return its result. Raises StoreUnavailable when the queue is full, or time ran out."""
        with self._changed:
            self._admit(job)
            self._queue.append(job)
            self._queued_rewards += len(job.rewards)
            self._changed.notify()
        return await self._wait(job)

    def _admit(self, job: Job[Scope, object]) -> None:
        if self._is_closing:
            raise StoreUnavailable(f"{self._name} is not open")
        # A call larger than the whole queue is taken when nothing else waits, else it could never be.
        if job.rewards and self._queue and self._queued_rewards + len(job.rewards) > QUEUE_REWARDS:
            raise StoreUnavailable(f"{self._name} is full: {self._queued_rewards} rewards wait, {QUEUE_REWARDS} may")
        if len(self._queue) >= QUEUE_CALLS:
            raise StoreUnavailable(f"{self._name} is full: {len(self._queue)} calls wait")

    async def _wait(self, job: Job[Worker[Scope], Result_co] | Job[Scope, Result_co]) -> Result_co:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await job.wait()
        except TimeoutError:
            raise StoreUnavailable(f"{self._name} did not answer within {self._timeout_s} s") from None

    def _end(self) -> None:
        with self._changed:
            self._is_closing = True
            self._changed.notify()

    def _live(self, opening: Job[Worker[Scope], None]) -> None:
        try:
            _guard([opening], partial(opening.perform, self._worker))
            _deliver([opening])
            while group := self._take():
                _guard(group, partial(self._worker.perform, group))
                _deliver(group)
        finally:
            _guard([], self._worker.close)

    def _take(self) -> list[Job[Scope, object]]:
        """Wait for work and return the next group; empty when the lane closes and nothing is left."""
        with self._changed:
            while True:
                while not self._queue and not self._is_closing:
                    self._changed.wait()
                group: list[Job[Scope, object]] = []
                rewards = 0
                while self._queue and len(group) < GROUP_CALLS and rewards < GROUP_REWARDS:
                    job = self._queue.popleft()
                    self._queued_rewards -= len(job.rewards)
                    if not job.is_abandoned:
                        group.append(job)
                        rewards += len(job.rewards)
                if group or self._is_closing:
                    return group


def _guard(group: Sequence[Job[Scope, object]], work: Callable[[], None]) -> None:
    try:
        work()
    except Exception as error:  # Bulkhead: one group's unforeseen fault must not end the store.
        log.exception("store work failed")
        for job in group:
            job.outcome = error


def _deliver(group: Sequence[Job[Scope, object]]) -> None:
    """Wake the callers, with one call per event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Job[Scope, object]]] = {}
    for job in group:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, jobs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_deliver_here, jobs)
        except RuntimeError:  # The loop was closed: nobody is left to wake.
            continue


def _deliver_here(jobs: Sequence[Job[Scope, object]]) -> None:
    for job in jobs:
        job.deliver()
