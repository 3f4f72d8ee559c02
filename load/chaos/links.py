"""Faults on the wires: between gateway and Redis, and between gateway and one of two model servers. R5, R6, B1, B2."""

import asyncio
import random
from collections.abc import Mapping
from typing import Final

from load.chaos.case import Findings, Setting
from load.chaos.faults import Blackhole, Cut, Delay, Fault, Garbage, Sometimes, Trickle
from load.chaos.load_during import conclude, rewarding
from load.chaos.proxy import Proxy
from load.chaos.stage import Plan, Stage, staged

_PAUSE_S: Final = 0.5
# Case B1: what two replicas promise when one of them fails.
_ANSWERED_MIN: Final = 0.999


def _script(rng: random.Random) -> Mapping[str, tuple[Fault | None, Fault | None]]:
    """Return each fault by its name, as (to the server, to the client)."""
    often = 0.3
    return {
        "slow answers": (None, Delay(rng, 0.05, 0.5)),
        "slow commands": (Delay(rng, 0.05, 0.5), None),
        "cut in answers": (None, Sometimes(rng, often, Cut())),
        "cut in commands": (Sometimes(rng, often, Cut()), None),
        "resets": (None, Sometimes(rng, often, Cut(is_reset=True))),
        "no answers": (None, Blackhole()),
        "no commands": (Blackhole(), None),
        "trickle": (Trickle(64, 0.002), Trickle(64, 0.002)),
        "garbage": (None, Sometimes(rng, often, Garbage())),
    }


async def _suffer(stage: Stage, proxy: Proxy, setting: Setting, each_s: float) -> dict[str, int]:
    """Have the link suffer each fault; return how many predictions failed under each."""
    failed = {}
    for name, (up, down) in _script(setting.rng).items():
        setting.tell(name)
        before = len(stage.predictions.failed)
        proxy.heal()
        proxy.to_server = up or proxy.to_server
        proxy.to_client = down or proxy.to_client
        await asyncio.sleep(each_s)
        proxy.heal()
        # A fault that swallowed bytes leaves connections that never answer: they end with it.
        proxy.drop()
        await asyncio.sleep(_PAUSE_S)
        failed[name] = len(stage.predictions.failed) - before
    return failed


async def store_link(setting: Setting, findings: Findings) -> None:
    """All faults on the way to the Redis: no prediction notices, every reward counts once."""
    plan = Plan(store="redis", proxied=frozenset({"store"}))
    async with staged(setting.folder, plan, setting.rng) as stage:
        async with rewarding(stage):
            failed = await _suffer(stage, stage.store_proxies[0], setting, setting.size(2, 1))
        findings.figures["faults"] = len(failed)
        await conclude(stage, findings)
        findings.hold(not any(failed.values()), f"predictions failed: {failed}")


async def backend_link(setting: Setting, findings: Findings) -> None:
    """All faults on the way to one of two model servers: the other answers, and no reward is made of a failure."""
    plan = Plan(backends=2, proxied=frozenset({"backend"}))
    async with staged(setting.folder, plan, setting.rng) as stage:
        proxy = stage.backend_proxy
        if proxy is None:
            raise ValueError("no proxy before the model server")
        async with rewarding(stage):
            failed = await _suffer(stage, proxy, setting, setting.size(2, 1))
        calls = len(stage.predictions.calls)
        findings.figures |= {
            "faults": len(failed),
            "answered %": round(100 * (1.0 - sum(failed.values()) / calls), 3),
            "answers that were another's": len(stage.predictions.wrong),
        }
        await conclude(stage, findings, failed_max=int((1.0 - _ANSWERED_MIN) * calls))
