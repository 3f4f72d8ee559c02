"""Ends work in order when a signal comes: what it started is its own to end, and has the time to."""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

# As a shell reports a process that a signal ended.
EXIT_SIGNAL: Final = 128

Result = TypeVar("Result")


class Signalled(Exception):
    """SIGINT or SIGTERM came, and the work has ended what it started."""

    def __init__(self, number: int) -> None:
        super().__init__(f"{signal.Signals(number).name}: all processes have been ended")
        self.number = number


async def until_signal(work: Coroutine[Any, Any, Result]) -> Result:
    """Await the work; SIGINT and SIGTERM cancel it once, so that a second one does not disturb the ending, and raise
    Signalled when it has ended.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 a coroutine runs in a task
    received: list[int] = []

    def on_signal(number: int) -> None:
        if not received:
            task.cancel()
        received.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    try:
        return await work
    except asyncio.CancelledError:
        if not received:
            raise
        raise Signalled(received[0]) from None


def run_whole(work: Coroutine[Any, Any, Result]) -> Result:
    """Run the work; a signal ends the process once the work has ended what it started."""
    try:
        return asyncio.run(until_signal(work))
    except Signalled as signalled:
        sys.stderr.write(f"{signalled}\n")
        raise SystemExit(EXIT_SIGNAL + signalled.number) from None
