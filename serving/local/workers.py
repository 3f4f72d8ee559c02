"""The bounded pool of threads in which TensorFlow runs, away from the event loop."""

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from serving.errors import QueueFull

Result = TypeVar("Result")

# Four times the 1,000 or so calls that a gateway may have in flight here. More is an overload: at 0.1 ms a call the
# last one would wait 0.4 s for a thread.
WAITING_MAX: Final = 4096


@dataclass(slots=True)
class _Job:
    """A call and where its outcome goes. Mutable: `result` and `error`, set by the thread that ran it."""

    call: Callable[..., Any]
    arguments: tuple[Any, ...]
    outcome: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class Workers:
    """Threads for blocking calls, started at the first one. More than `waiting_max` calls at once get QueueFull.

    Not a ThreadPoolExecutor: outcomes that are ready together go back to the event loop in one wake-up, which saves
    up to a tenth of the processor time of a small prediction.
    """

    def __init__(self, threads: int, waiting_max: int = WAITING_MAX) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting_max = waiting_max
        # Mutable. `_waiting` belongs to the event loop; the queues are safe between threads; the flag only ever saves
        # a wake-up: it is cleared before `_done` is emptied, so nothing stays behind.
        self._waiting = 0
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._done: deque[_Job] = deque()
        self._is_waking = False
        self._threads = [threading.Thread(target=self._work, name=f"predict-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    async def run(self, call: Callable[..., Result], *arguments: object) -> Result:
        """Run `call(*arguments)` in a thread. When the caller is cancelled while it waits, it never runs."""
        if self._waiting >= self._waiting_max:
            raise QueueFull(f"the model server is busy: {self._waiting} calls wait, at most {self._waiting_max} may")
        self._waiting += 1
        outcome: asyncio.Future[Result] = self._loop.create_future()
        self._jobs.put(_Job(call, arguments, outcome))
        return await outcome

    def close(self) -> None:
        """Run what is queued and end the threads; blocks until they have ended."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if not job.outcome.cancelled():
                try:
                    job.result = job.call(*job.arguments)
                except BaseException as error:  # noqa: BLE001 - not ours: it is raised in `run`, whatever it is
                    job.error = error
            self._done.append(job)
            if not self._is_waking:
                self._is_waking = True
                self._loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        """Give every outcome that is ready to its caller. On the event loop."""
        self._is_waking = False
        while self._done:
            job = self._done.popleft()
            self._waiting -= 1
            if job.outcome.cancelled():
                continue
            if job.error is None:
                job.outcome.set_result(job.result)
            else:
                job.outcome.set_exception(job.error)
