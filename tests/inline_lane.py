"""A lane without a thread, for virtual time: what is asked while a group is under way is the next, and takes as long as told."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from router.store.contract import StoreUnavailable
from router.store.lane import Job, Worker

Scope = TypeVar("Scope")
Result = TypeVar("Result")


class InlineLane(Generic[Scope]):
    """Stands in for router.store.lane.Lane. Mutable: who waits, and whether it is open."""

    def __init__(self, worker: Worker[Scope], takes_s: Callable[[], float] | None = None) -> None:
        """Without `takes_s` each group is done at once."""
        self._worker = worker
        self._takes_s = takes_s
        self._waiting: list[Job[Scope, object]] = []
        self._is_busy = False
        self._is_open = False

    async def open(self) -> None:
        """Let the worker get ready."""
        self._worker.open()
        self._is_open = True

    async def close(self) -> None:
        """Take no more."""
        self._is_open = False
        self._worker.close()

    async def ask(self, job: Job[Scope, Result]) -> Result:
        """Queue a job and return its result."""
        if not self._is_open:
            raise StoreUnavailable("the lane is not open")
        self._waiting.append(job)
        if not self._is_busy:
            self._is_busy = True
            asyncio.get_running_loop().call_soon(self._begin)
        return await job.wait()

    def _begin(self) -> None:
        group, self._waiting = self._waiting, []
        if self._takes_s is None:
            self._perform(group)
        else:
            asyncio.get_running_loop().call_later(self._takes_s(), self._perform, group)

    def _perform(self, group: list[Job[Scope, object]]) -> None:
        alive = [job for job in group if not job.is_abandoned]
        if self._is_open:
            try:
                self._worker.perform(alive)
            except Exception as error:  # noqa: BLE001 the caller's, as from a thread
                for job in alive:
                    job.outcome = error
        else:
            for job in alive:
                job.outcome = StoreUnavailable("the lane is not open")
        for job in alive:
            job.deliver()
        # Who is woken now, and asks again at once, is in the next group, as with a thread that is slow to begin.
        self._is_busy = bool(self._waiting)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._begin)
