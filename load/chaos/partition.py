"""A Redis behind a wire that loses packets, and nobody is told: both ways, and its answers alone. R2, as networks do it."""

import asyncio
from collections.abc import Awaitable, Callable

from load.chaos.case import Findings, Setting
from load.chaos.load_during import conclude, rewarding
from load.chaos.namespace import THEIRS, namespace
from load.chaos.stage import Plan, staged


async def redis_cut_off(setting: Setting, findings: Findings) -> None:
    """Cut the wire for some seconds, mend it, cut its way back alone, and mend that."""
    async with namespace() as space:
        plan = Plan(store="redis", redis_host=THEIRS, redis_prefix=space.prefix)
        cut_s = setting.size(4, 2)
        steps: dict[str, tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]] = {
            "no packet arrives": (space.cut, space.mend),
            "no answer arrives": (space.cut_answers, space.mend_answers),
        }
        async with staged(setting.folder, plan, setting.rng) as stage:
            async with rewarding(stage):
                for name, (cut, mend) in steps.items():
                    setting.tell(name)
                    await asyncio.sleep(2.0)
                    await cut()
                    await asyncio.sleep(cut_s)
                    await mend()
                await asyncio.sleep(2.0)
            findings.figures["partitions"] = len(steps)
            await conclude(stage, findings)
            findings.hold("spooled" in stage.payers.durabilities, "no reward was spooled")
