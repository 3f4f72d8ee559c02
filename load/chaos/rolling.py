"""Everything is restarted in order, one after the other, while predictions keep coming: none fails. G2, law 8."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from load.chaos.case import Findings, Setting
from load.chaos.load_during import conclude, rewarding
from load.chaos.stage import Plan, staged

_PLAN: Final = Plan(store="redis", gateways=2, workers=2, backends=2)
# Between two restarts: a balancer has found again what came back.
_BETWEEN_S: Final = 1.5


async def rolling(setting: Setting, findings: Findings) -> None:
    """Restart both gateways, the Redis and a model server, round after round."""
    rounds = 1
    async with staged(setting.folder, _PLAN, setting.rng) as stage:
        statuses = []

        async def gateway(number: int) -> None:
            statuses.append(await stage.gateways[number].end())
            await stage.gateways[number].start()

        async def redis() -> None:
            await stage.the_redis.end()
            await stage.the_redis.start()

        async def server() -> None:
            await stage.servers[0].end()
            await stage.servers[0].start()

        steps: dict[str, Callable[[], Awaitable[None]]] = {
            "the first gateway": lambda: gateway(0),
            "the second gateway": lambda: gateway(1),
            "the Redis": redis,
            "a model server": server,
        }
        failed: dict[str, int] = {}
        async with rewarding(stage):
            for _ in range(rounds):
                for name, restart in steps.items():
                    setting.tell(f"{name} is restarted")
                    before = len(stage.predictions.failed)
                    await restart()
                    await asyncio.sleep(_BETWEEN_S)
                    failed[name] = failed.get(name, 0) + len(stage.predictions.failed) - before
        findings.figures["restarts"] = rounds * len(steps)
        await conclude(stage, findings)
        findings.hold(not any(failed.values()), f"predictions failed: {failed}")
        findings.hold(not any(statuses), f"gateways ended with {statuses}")
