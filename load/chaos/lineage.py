"""A Redis that comes back empty, or as it was some time ago: learning freezes and says so, until the right one is back. R9."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from load.chaos.case import Findings, Setting
from load.chaos.load_during import conclude, rewarding
from load.chaos.stage import Plan, Stage, staged
from load.chaos.waiting import until
from router.store.redis_documents import SNAPSHOTS_KEY
from router.store.redis_lineage import FAILOVER_LOSS_MAX_S

_PLAN: Final = Plan(store="redis")
# A refresh (0.2 s here), a flush (0.25 s), and as long as a breaker may pause before it asks again (1 s).
_DETECTED_MAX_S: Final = 1.5
_DETECTED_S: Final = 20.0
_SETTLE_S: Final = 30.0


def _said(stage: Stage, event: str) -> Callable[[], bool]:
    before = len(stage.gateway.events(event))
    return lambda: len(stage.gateway.events(event)) > before


async def _exchange(stage: Stage, files: Path | None) -> None:
    """Kill the Redis and start it on other files."""
    redis = stage.the_redis
    await redis.kill()
    await asyncio.to_thread(redis.put_back, files)
    await redis.start()


async def _aside(stage: Stage, name: str) -> Path:
    """Keep a copy of what the Redis holds now; its own process goes on afterwards."""
    redis, kept = stage.the_redis, stage.folder / name
    await redis.end()
    await asyncio.to_thread(redis.keep_aside, kept)
    await redis.start()
    return kept


def _weights(state: dict[str, Any]) -> list[float]:
    return [arm["weight"] for arm in state.get("arms", ())]


async def _frozen(stage: Stage, setting: Setting, findings: Findings, files: Path | None) -> None:
    """Put a wrong Redis in the place of the right one, watch for a while, and put the right one back."""
    redis = stage.the_redis
    async with rewarding(stage):
        await asyncio.sleep(1.0)
        right = stage.folder / "right"
        await redis.end()
        await asyncio.to_thread(redis.keep_aside, right)
        # Answers by the last snapshot are on their way, and some arms are chosen seldom.
        await asyncio.sleep(1.0)
        has_said = _said(stage, "store reset")
        await _exchange_dead(stage, files)
        detected_s = await until("the gateway's word on the wrong store", has_said, _DETECTED_S)
        versions = {version for _, version, _ in stage.predictions.shares}
        before = await redis.tell("HLEN", SNAPSHOTS_KEY), await redis.tell("HGET", SNAPSHOTS_KEY, "numbers")
        await asyncio.sleep(setting.size(3, 1))
        after = await redis.tell("HLEN", SNAPSHOTS_KEY), await redis.tell("HGET", SNAPSHOTS_KEY, "numbers")
        new = {version for _, version, _ in stage.predictions.shares} - versions
        metrics = await stage.gateway.metrics()
        said_back = _said(stage, "store as it was: calls go on")
        await _exchange(stage, right)
        await until("the gateway's word on the right store", said_back, _DETECTED_S)
    caught_up_s, _ = await stage.caught_up(_SETTLE_S)
    findings.figures |= {
        "noticed within s": round(detected_s, 2),
        "snapshots published to it": int(after != before),
        "caught up with the right one within s": round(caught_up_s, 2),
    }
    await conclude(stage, findings)
    findings.hold(after == before, f"somebody wrote into the wrong store: {before} became {after}")
    findings.hold(not new, f"weights changed while the store was wrong: versions {new}")
    findings.hold(metrics.get("turpin_store_up") == 0.0, f"turpin_store_up is {metrics.get('turpin_store_up')}")
    findings.hold(detected_s <= _DETECTED_MAX_S, f"noticed after {detected_s:.1f} s, at most {_DETECTED_MAX_S:g} s")


async def _exchange_dead(stage: Stage, files: Path | None) -> None:
    """Start a Redis that was ended on other files."""
    await asyncio.to_thread(stage.the_redis.put_back, files)
    await stage.the_redis.start()


async def redis_empty(setting: Setting, findings: Findings) -> None:
    """It comes back with nothing in it."""
    async with staged(setting.folder, _PLAN, setting.rng) as stage:
        await _frozen(stage, setting, findings, None)


async def redis_older(setting: Setting, findings: Findings) -> None:
    """It comes back as it was longer ago than a failover loses."""
    async with staged(setting.folder, _PLAN, setting.rng) as stage:
        async with rewarding(stage):
            await asyncio.sleep(1.0)
            old = await _aside(stage, "old")
            setting.tell("getting older")
            await asyncio.sleep(FAILOVER_LOSS_MAX_S + 2.0)
        await _frozen(stage, setting, findings, old)
