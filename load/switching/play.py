"""All operations one after the other, under load."""

import asyncio
from pathlib import Path

from load.switching.open_loop import OpenLoop
from load.switching.operations import Operations


async def play(operations: Operations, sender: OpenLoop, package: Path, *, steady_s: float) -> None:
    """Deploy v4, retire v3 and bring it back, make v2 the winner, and return to v1; requests are sent throughout."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sender.run(), name="sender")
        try:
            await operations.steady(steady_s)
            await operations.deploy(package, "v4")
            await operations.retire("v3")
            await operations.restore("v3")
            await operations.promote("v2")
            await operations.roll_back("v1")
        finally:
            sender.is_over = True
