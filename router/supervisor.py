"""Starts the workers, starts one again that died, keeps its counters, and ends them all."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from router.aggregate import Aggregate
from router.capture.messages import Captured, EndCapture
from router.link import Configure, Counters, Failed, Link, Order, Override, Ready, Stop

log = structlog.get_logger(__name__)

# A worker that dies at once again is not started in a tight loop; one that had served comes back without delay.
_RESTART_FIRST_S: Final = 0.1
_RESTART_MAX_S: Final = 5.0
# Draining takes 10 s at most (fronts.http.DRAIN_S); a worker still there after that, or after its line closed, is killed.
_STOP_S: Final = 15.0
WORKER: Final = (sys.executable, "-P", "-m", "router.worker_start")


class WorkerFailed(Exception):
    """A worker could not start at all: a port in use, a store that can't be opened."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a worker listens, and its process id."""

    pid: int
    grpc: int
    http: int


class Supervisor:
    """Keeps `count` workers running. Mutable: the workers that are ready now, and the orders all must know.

    They are started at once, and load; what they are to do they are told after `begin`.
    """

    def __init__(
        self,
        configure: Configure,
        count: int,
        aggregate: Aggregate,
        *,
        on_captured: Callable[[Captured], None] = lambda _: None,
        command: Sequence[str] = WORKER,
    ) -> None:
        """`command` starts a worker; the number of the socket that is its end of the line is added to it."""
        self._on_captured = on_captured
        self._configure = configure
        self._command = command
        self._count = count
        self._aggregate = aggregate
        self.ready: dict[int, Listening] = {}
        self._links: dict[int, Link] = {}
        self._standing: dict[str, Order] = {}
        self._may_begin = asyncio.Event()

    def begin(self) -> None:
        """Let the workers serve."""
        self._may_begin.set()

    async def run(self, *, on_ready: Callable[[], None], stop: asyncio.Event) -> None:
        """Run until `stop`; `on_ready` is called whenever all have become ready; WorkerFailed if one can't even start."""
        async with asyncio.TaskGroup() as tasks:
            for place in range(self._count):
                tasks.create_task(self._keep(place, on_ready, stop), name=f"worker {place}")

    async def tell(self, order: Order) -> None:
        """Tell all workers, and those that come later while it stands."""
        # No experiment's name has a slash.
        key = order.name if isinstance(order, Override) else f"capture/{order.id}"
        if isinstance(order, EndCapture):
            self._standing.pop(key, None)
        else:
            self._standing[key] = order
        for link in list(self._links.values()):
            with contextlib.suppress(ConnectionError):
                await link.send(order)

    async def _keep(self, place: int, on_ready: Callable[[], None], stop: asyncio.Event) -> None:
        pause_s, has_served = _RESTART_FIRST_S, False
        while not stop.is_set():
            reason = await self._once(place, on_ready, stop)
            was_ready = self.ready.pop(place, None) is not None
            if stop.is_set():
                return
            if not was_ready and not has_served:
                raise WorkerFailed(reason)
            has_served = True
            pause_s = _RESTART_FIRST_S if was_ready else min(_RESTART_MAX_S, 2 * pause_s)
            log.error("worker died: starting it again", worker=place, reason=reason, pause_s=pause_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await stop.wait()

    async def _once(self, place: int, on_ready: Callable[[], None], stop: asyncio.Event) -> str:
        """Run one worker process to its end; return why it ended."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *self._command, str(theirs.fileno()), pass_fds=[theirs.fileno()]
            )
        link = await Link.over(ours)
        try:
            async with asyncio.TaskGroup() as tasks:
                ending = tasks.create_task(self._end(place, link, process, stop), name=f"end worker {place}")
                await self._may_begin.wait()
                reason = await self._converse(place, process.pid, link, on_ready)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_STOP_S):
                        await process.wait()
                ending.cancel()
        finally:
            self._links.pop(place, None)
            if process.returncode is None:
                process.kill()
                await process.wait()
            await link.close()
        self._aggregate.retire(f"{place}:{process.pid}")
        return reason or f"exit code {process.returncode}"

    async def _converse(self, place: int, pid: int, link: Link, on_ready: Callable[[], None]) -> str:
        reason = ""
        with contextlib.suppress(ConnectionError):
            await link.send(self._configure)
            self._links[place] = link
            for order in list(self._standing.values()):
                await link.send(order)
        while (message := await link.receive()) is not None:
            match message:
                case Ready(grpc=grpc, http=http):
                    self.ready[place] = Listening(pid, grpc, http)
                    if len(self.ready) == self._count:
                        on_ready()
                case Counters(snapshot=snapshot):
                    self._aggregate.update(f"{place}:{pid}", snapshot)
                case Captured():
                    self._on_captured(message)
                case Failed(reason=reason):
                    pass
                case _:
                    log.error("unexpected frame from a worker", worker=place, frame=type(message).__name__)
        return reason

    async def _end(self, place: int, link: Link, process: asyncio.subprocess.Process, stop: asyncio.Event) -> None:
        await stop.wait()
        if place not in self._links:
            # It was told nothing yet, so it holds nothing: what it still loads is not waited for.
            process.kill()
            self.begin()
            return
        with contextlib.suppress(ConnectionError):
            await link.send(Stop())
        await asyncio.sleep(_STOP_S)
        if process.returncode is None:
            process.kill()
