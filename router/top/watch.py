"""The loop of `turpin top`: read, show, wait for the next moment or for news; a gateway that goes away is asked again."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from router.top.source import NotAllowed, NotThere, Reading, Source

# Rates want two readings this far apart.
ONCE_S: Final = 1.0

Show: TypeAlias = Callable[[Reading, str], None]


@dataclass(frozen=True, slots=True)
class Wake:
    """What ends a wait: news of the gateway, or a signal to end, which is for good."""

    is_due: asyncio.Event = field(default_factory=asyncio.Event)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self) -> None:
        """Have the loop end."""
        self.is_over.set()
        self.is_due.set()


async def once(source: Source) -> Reading:
    """Return a reading with the rates of a second; NotThere or NotAllowed when there is none."""
    await source.read()
    await asyncio.sleep(ONCE_S)
    return await source.read()


async def watch(source: Source, show: Show, every_s: float, wake: Wake) -> None:
    """Show readings until `wake` ends; NotThere or NotAllowed when the first one fails.

    Later the last reading stays in sight, with the reason why there is none newer.
    """
    reading, lost = await source.read(), ""
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(source.follow(wake.is_due.set), name="events")
        try:
            while True:
                show(reading, lost)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(every_s):
                        await wake.is_due.wait()
                if wake.is_over.is_set():
                    return
                wake.is_due.clear()
                try:
                    reading, lost = await source.read(), ""
                except (NotThere, NotAllowed) as error:
                    lost = f"{error}. What follows is the last that was heard; it is asked again every {every_s:g} s."
        finally:
            following.cancel()
