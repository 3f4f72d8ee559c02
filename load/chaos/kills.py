"""SIGKILL with rewards in flight: of workers, of whole gateways, on SQLite and on Redis. G1, L10, R12, R1."""

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from typing import Final

from load.chaos.case import Findings, Setting
from load.chaos.checker import Verdict
from load.chaos.stage import Plan, Stage, staged
from load.chaos.waiting import until

# The bar: a kill counts only with so many rewards in flight.
IN_FLIGHT_MIN: Final = 50
# Rewards sent at once for one kill; while they are answered, one after the other, the moment of the kill is drawn.
_VOLLEY: Final = 160
_BACK_S: Final = 30.0
_SETTLE_S: Final = 30.0
# What a restart may take (case G1). A start takes 1 s on a machine without other work; where even the first one, before
# there was any load, takes longer than this, the machine decides it, and a restart under load gets three times as long.
_READY_MAX_S: Final = 3.0
_QUIET_START_S: Final = 1.5
_READY_MAX_RATIO: Final = 3.0
# A volley may be answered before the drawn moment; then it is sent again, and no kill is counted.
_TRIES: Final = 20


class Killing:
    """Kills again and again, and holds the books against the store after each. Mutable: what was seen so far."""

    def __init__(self, stage: Stage, findings: Findings, rng: random.Random, volley: int = _VOLLEY) -> None:
        self._stage, self._findings, self._rng, self._volley = stage, findings, rng, volley
        self._in_flight: list[int] = []
        self._back_s: list[float] = []
        self._struck_at = 0.0
        self._open = self._open_counted = self._lost = self._double = 0

    async def once(self, strike: Callable[[], Awaitable[None]], is_back: Callable[[], bool]) -> None:
        """Send a volley, strike while at least IN_FLIGHT_MIN of it are in flight, and settle all of it."""
        stage, loop = self._stage, asyncio.get_running_loop()
        for _ in range(_TRIES):
            if await self._strike(strike):
                break
        else:
            self._findings.hold(False, f"no volley of {self._volley} was in flight for long enough to kill in it")
            return
        await until("the end of the outage", is_back, _BACK_S)
        self._back_s.append(loop.time() - self._struck_at)
        # What is open may be counted or not; nothing else may differ.
        verdict = await self._check("after the kill")
        self._open += verdict.open
        self._open_counted += verdict.counted - verdict.acknowledged
        await stage.payers.settle(_SETTLE_S)
        await self._check("after what was open was sent again")

    async def _strike(self, strike: Callable[[], Awaitable[None]]) -> bool:
        stage = self._stage
        payers = stage.payers
        dues = payers.due(await stage.decisions(self._volley))
        before = payers.acknowledged
        # Everywhere in the volley, from when most of it is sent until most of it is answered.
        enough = self._rng.randint(0, self._volley - 2 * IN_FLIGHT_MIN)
        async with asyncio.TaskGroup() as tasks:
            volley = tasks.create_task(payers.volley(dues))
            # Every turn of the loop, for all of it is over within milliseconds.
            while not volley.done():
                if payers.in_flight >= IN_FLIGHT_MIN and payers.acknowledged - before >= enough:
                    break
                await asyncio.sleep(0)
            if payers.in_flight < IN_FLIGHT_MIN:
                return False
            self._in_flight.append(payers.in_flight)
            self._struck_at = asyncio.get_running_loop().time()
            await strike()
        return True

    async def _check(self, when: str) -> Verdict:
        _, verdict = await self._stage.caught_up(_SETTLE_S)
        self._lost, self._double = max(self._lost, verdict.lost), max(self._double, verdict.double)
        for difference in verdict.differences:
            self._findings.hold(False, f"kill {len(self._in_flight)}, {when}: {difference}")
        return verdict

    async def conclude(self) -> None:
        """Write down the figures."""
        verdict = await self._stage.verdict()
        self._findings.figures |= {
            "kills": len(self._in_flight),
            "in flight at least": min(self._in_flight, default=0),
            "acknowledged": verdict.acknowledged,
            "open after a kill": self._open,
            "of those counted": self._open_counted,
            "lost": self._lost,
            "double": self._double,
            "back within s": round(max(self._back_s, default=0.0), 2),
        }
        self._findings.hold(not self._stage.predictions.wrong, f"wrong answers: {self._stage.predictions.wrong[:3]}")
        self._findings.hold(verdict.open == 0, f"{verdict.open} rewards were never settled")


def _all_ready_again(stage: Stage) -> Callable[[], bool]:
    """Return what tells whether the control process has said once more that all workers serve."""
    gateway = stage.gateway
    before = len(gateway.events("ready"))
    return lambda: len(gateway.events("ready")) > before


async def _kill_workers(setting: Setting, findings: Findings, plan: Plan, kills: int) -> None:
    async with staged(setting.folder, plan, setting.rng) as stage:
        # With several workers each has its part of what is in flight.
        killing = Killing(stage, findings, setting.rng, _VOLLEY if plan.workers == 1 else 2 * _VOLLEY)
        for number in range(kills):
            setting.tell(f"kill {number + 1} of {kills}")

            async def strike() -> None:
                os.kill(setting.rng.choice(stage.gateway.workers()), signal.SIGKILL)

            await killing.once(strike, _all_ready_again(stage))
        await killing.conclude()


async def sqlite_worker(setting: Setting, findings: Findings) -> None:
    """Kill the only worker of a gateway on SQLite."""
    await _kill_workers(setting, findings, Plan(), setting.size(15, 2))


async def sqlite_workers(setting: Setting, findings: Findings) -> None:
    """Kill one of three workers that share an SQLite file."""
    await _kill_workers(setting, findings, Plan(workers=3), setting.size(15, 2))


async def redis_worker(setting: Setting, findings: Findings) -> None:
    """Kill the only worker of a gateway on Redis."""
    await _kill_workers(setting, findings, Plan(store="redis"), setting.size(15, 1))


async def whole_gateway(setting: Setting, findings: Findings) -> None:
    """Kill the control process and its workers at once, and start the gateway again."""
    async with staged(setting.folder, Plan(workers=2), setting.rng) as stage:
        killing = Killing(stage, findings, setting.rng)
        for number in range(kills := setting.size(5, 1)):
            setting.tell(f"kill {number + 1} of {kills}")
            is_back = _all_ready_again(stage)

            async def strike() -> None:
                await stage.gateway.kill()
                await stage.gateway.start(is_awaited=False)

            await killing.once(strike, is_back)
        await killing.conclude()
        first_s = stage.gateway.first_ready_s
    findings.figures["first start s"] = round(first_s, 2)
    seconds = float(findings.figures["back within s"])
    most_s = _READY_MAX_S if first_s <= _QUIET_START_S else _READY_MAX_RATIO * first_s
    findings.hold(seconds <= most_s, f"back after {seconds:g} s, at most {most_s:.1f} s")
