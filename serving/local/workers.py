"""The bounded pool of threads in which TensorFlow runs, away from the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from serving.errors import QueueFull

Result = TypeVar("Result")

# Four times the 1,000 or so calls that a gateway may have in flight here; more than that is an overload, and at 0.1 ms
# a call waiting longer than 0.4 s for a thread.
WAITING_MAX: Final = 4096


class Workers:
    """Threads for blocking calls. More than `waiting_max` calls at once are refused with QueueFull."""

    def __init__(self, threads: int, waiting_max: int = WAITING_MAX) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="predict")
        self._waiting_max = waiting_max
        self._waiting = 0  # mutable; touched by the event loop's thread alone

    async def run(self, call: Callable[..., Result], *arguments: object) -> Result:
        """Run `call(*arguments)` in a thread. When the caller is cancelled while it waits, it never runs."""
        if self._waiting >= self._waiting_max:
            raise QueueFull(f"the model server is busy: {self._waiting} calls wait, at most {self._waiting_max} may")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Wait for the calls under way and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)
