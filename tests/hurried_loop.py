"""An asyncio loop whose clock runs faster than ours, for code that works in threads or talks to sockets while it waits.

    def test_x() -> None:
        run_hurried(scenario())

Where neither is in play, tests/simulated_loop.py is better: its order repeats exactly, and it need not wait at all.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

# A period of a second passes in 10 ms: about what a turn computes.
SPEED = 100.0


class _HurriedSelector(selectors.DefaultSelector):
    """Waits for files as ever, and for timers a fraction of their time."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(None if timeout is None else timeout / SPEED)


class HurriedLoop(asyncio.SelectorEventLoop):
    """A SelectorEventLoop in which a second of time() is a hundredth of one."""

    def __init__(self) -> None:
        super().__init__(_HurriedSelector())

    def time(self) -> float:
        return super().time() * SPEED


def run_hurried(scenario: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in hurried time and return its result; what it leaves behind is cancelled."""
    with asyncio.Runner(loop_factory=HurriedLoop) as runner:
        return runner.run(scenario)
