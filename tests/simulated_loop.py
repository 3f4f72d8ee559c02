"""An asyncio loop in virtual time: when nothing is ready the clock jumps to the next timer, so a day takes a moment.

    def test_x() -> None:
        run_simulated(scenario())

Order is asyncio's own and repeats exactly; what is given to a thread is done at once, in place of it. When every task waits and no timer is set, nothing could ever happen again:
that is reported as `SimulatedDeadlock` with the waiting tasks, instead of a test that hangs.
Other threads and sockets have no place here: virtual time does not wait for them.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class SimulatedDeadlock(RuntimeError):
    """Every task waits, no timer is set, and nothing outside can wake one."""


class _JumpingSelector(selectors.BaseSelector):
    """Waits for no file: instead of sleeping it moves the loop's clock."""

    def __init__(self) -> None:
        # The loop's own wake-up socket is registered here; it is the only file a simulation has.
        self._real = selectors.DefaultSelector()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # While somebody can go on no file need be looked at: all that could come is a wake-up.
        if timeout == 0:
            return []
        ready = self._real.select(0)
        if ready:
            return ready
        if timeout is None:
            tasks = sorted(_where(task) for task in asyncio.all_tasks(asyncio.get_running_loop()))
            raise SimulatedDeadlock(f"all {len(tasks)} tasks wait at {self.now_s:.6f} s:\n  " + "\n  ".join(tasks))
        self.now_s += max(0.0, timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class _NoThreads(ThreadPoolExecutor):
    """Does what it is given at once."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **named: Any) -> "Future[T]":
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **named))
        except Exception as error:  # noqa: BLE001 the caller's, as from a thread
            future.set_exception(error)
        return future


class SimulatedLoop(asyncio.SelectorEventLoop):
    """A SelectorEventLoop whose time() starts at 0 and passes only while everybody waits."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self.set_default_executor(_NoThreads(1))

    def time(self) -> float:
        return self._jumping.now_s

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """There are no threads to wait for; asyncio would wait for them in one."""


def run_simulated(scenario: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in virtual time and return its result; what it leaves behind is cancelled."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(scenario)


def _where(task: "asyncio.Task[Any]") -> str:
    """Name a task and the line it waits at."""
    frames = task.get_stack(limit=1)
    at = f"{frames[0].f_code.co_qualname}:{frames[0].f_lineno}" if frames else "before its first step"
    return f"{task.get_name()} at {at}"
