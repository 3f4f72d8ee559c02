"""A Redis that is killed, stopped, full or forgetful while predictions and rewards go on. R1, R2, R3, R10."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Final

from load.chaos.case import Findings, Setting
from load.chaos.load_during import Watch, Window, conclude, rewarding
from load.chaos.stage import Plan, Stage, staged
from load.chaos.waiting import until

_PLAN: Final = Plan(store="redis")
# The bars: what an outage may add to predictions, and how soon all is caught up.
P99_ADDED_MAX_S: Final = 0.002
# Where the slowest hundredth takes longer than this with the store, other work decides it: 10 ms on a machine without.
QUIET_MAX_S: Final = 0.02
# Then what can be seen is whether predictions wait for the store: they would, for its time limit of 200 ms. And where even
# that is less than what other work costs, whether it takes twice as long.
_P99_ADDED_BUSY_MAX_S: Final = 0.1
CAUGHT_UP_MAX_S: Final = 5.0
_SETTLE_S: Final = 30.0
_SPOOLED_S: Final = 10.0


async def _is_spooling(stage: Stage) -> bool:
    return (await stage.gateway.metrics()).get("turpin_spool_bytes", 0.0) > 0


async def _outage(
    stage: Stage,
    setting: Setting,
    findings: Findings,
    away: Callable[[], Awaitable[None]],
    back: Callable[[], Awaitable[None]],
    away_s: float,
) -> None:
    """Take the store away for so long under load, and measure what that costs."""
    # Enough seconds for a median.
    around_s = 1.0 if setting.is_short else 8.0
    async with rewarding(stage) as stop:
        setting.tell("with the store")
        # The first seconds are those of a process that has just begun.
        await asyncio.sleep(1.0)
        watch = Watch(stage)
        await asyncio.sleep(around_s)
        before = watch.cut()
        setting.tell(f"without the store for {away_s:g} s")
        await away()
        await until("rewards in the spool", lambda: _is_spooling(stage), _SPOOLED_S)
        await asyncio.sleep(away_s)
        during = watch.cut()
        stop.set()
    await back()
    setting.tell("the store is back")
    caught_up_s, _ = await stage.caught_up(_SETTLE_S)
    watch.cut()
    await asyncio.sleep(around_s)
    _judge(setting, findings, during, (before, watch.cut()), caught_up_s)
    findings.hold("spooled" in stage.payers.durabilities, "no reward was spooled")


def _judge(
    setting: Setting, findings: Findings, during: Window, around: tuple[Window, Window], caught_up_s: float
) -> None:
    """Keep the worst of all outages, and hold the bars."""
    with_it_s = max(window.p99_s for window in around)
    added_s = during.p99_s - with_it_s
    # On a machine where the store's presence is no help either, milliseconds can't be seen.
    is_quiet = with_it_s <= QUIET_MAX_S and not setting.is_short
    most_s = P99_ADDED_MAX_S if is_quiet else max(_P99_ADDED_BUSY_MAX_S, with_it_s)
    worst = {
        "p99 with it ms": round(1e3 * with_it_s, 2),
        "p99 without ms": round(1e3 * during.p99_s, 2),
        "added ms": round(1e3 * added_s, 2),
        "at most ms": round(1e3 * most_s, 2),
        "caught up within s": round(caught_up_s, 2),
    }
    for name, value in worst.items():
        findings.figures[name] = max(float(findings.figures.get(name, value)), value)
    findings.hold(added_s <= most_s, f"p99 grew by {1e3 * added_s:.2f} ms, at most {1e3 * most_s:g} ms")
    findings.hold(caught_up_s <= CAUGHT_UP_MAX_S, f"caught up after {caught_up_s:.1f} s, at most {CAUGHT_UP_MAX_S:g} s")


async def redis_stopped(setting: Setting, findings: Findings) -> None:
    """SIGSTOP, and SIGCONT much later: the server accepts and never answers."""
    async with staged(setting.folder, _PLAN, setting.rng) as stage:
        redis = stage.the_redis

        async def away() -> None:
            redis.signal(signal.SIGSTOP)

        async def back() -> None:
            redis.signal(signal.SIGCONT)

        await _outage(stage, setting, findings, away, back, setting.size(30, 2))
        await conclude(stage, findings)


async def redis_killed(setting: Setting, findings: Findings) -> None:
    """SIGKILL, and a new process on the same log of writes."""
    async with staged(setting.folder, _PLAN, setting.rng) as stage:
        redis = stage.the_redis
        for _ in range(setting.size(2, 1)):
            await _outage(stage, setting, findings, redis.kill, redis.start, setting.size(4, 1))
        await conclude(stage, findings)


async def redis_full(setting: Setting, findings: Findings) -> None:
    """No memory for writes, for a while: reads go on, and rewards wait elsewhere."""
    async with staged(setting.folder, _PLAN, setting.rng) as stage:
        redis = stage.the_redis

        async def away() -> None:
            await redis.tell("CONFIG", "SET", "maxmemory", "1mb")

        async def back() -> None:
            await redis.tell("CONFIG", "SET", "maxmemory", "0")

        await _outage(stage, setting, findings, away, back, 3.0)
        await conclude(stage, findings)


async def scripts_forgotten(setting: Setting, findings: Findings) -> None:
    """SCRIPT FLUSH again and again, as a failover does once: nobody notices."""
    async with staged(setting.folder, _PLAN, setting.rng) as stage:
        flushes = setting.size(100, 20)
        async with rewarding(stage):
            for _ in range(flushes):
                await stage.the_redis.tell("SCRIPT", "FLUSH")
                await asyncio.sleep(0.05)
        verdict = await conclude(stage, findings)
        metrics = await stage.gateway.metrics()
        findings.figures["flushes"] = flushes
        findings.hold(verdict.refused == 0, f"{verdict.refused} rewards were refused")
        findings.hold(stage.payers.durabilities == {"standard"}, f"rewards were {stage.payers.durabilities}")
        findings.hold(metrics.get("turpin_store_up") == 1.0, "the store counts as away")
