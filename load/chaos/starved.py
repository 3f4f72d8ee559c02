"""A gateway that does not run for a while, as on a starved machine: what comes after, and what it thinks of the world. G5."""

import asyncio
import os
import signal
from typing import Final

from load.chaos.case import Findings, Setting
from load.chaos.load_during import Watch, Window, conclude, rewarding
from load.chaos.stage import Plan, Stage, staged

# What was due in the stop is late by it, and has to be worked off; so long after its end nobody may be late by half a
# second any more.
_RECOVERED_MAX_S: Final = 5.0
_LATE_S: Final = 0.5
_WINDOW_S: Final = 0.5
_PATIENCE_S: Final = 20.0


async def _recovered(stage: Stage) -> float:
    """Return how long it takes until the slowest hundredth of half a second's calls is not late."""
    loop = asyncio.get_running_loop()
    began, watch = loop.time(), Watch(stage)
    while loop.time() < began + _PATIENCE_S:
        since = loop.time()
        await asyncio.sleep(_WINDOW_S)
        calls = watch.cut().calls
        if calls and Window(calls).p99_s <= _LATE_S:
            return since - began
    return _PATIENCE_S


async def worker_stopped(setting: Setting, findings: Findings) -> None:
    """SIGSTOP a worker for two seconds under load: healthy arms stay in, and nothing is answered late for long."""
    async with staged(setting.folder, Plan(), setting.rng) as stage:
        async with rewarding(stage):
            await asyncio.sleep(1.0)
            for number in range(times := setting.size(2, 1)):
                setting.tell(f"stop {number + 1} of {times}")
                (worker,) = stage.gateway.workers()
                os.kill(worker, signal.SIGSTOP)
                await asyncio.sleep(2.0)
                os.kill(worker, signal.SIGCONT)
                seconds = await _recovered(stage)
                worst = max(float(findings.figures.get("recovered within s", 0.0)), round(seconds, 2))
                findings.figures["recovered within s"] = worst
                findings.hold(seconds <= _RECOVERED_MAX_S, f"still late {seconds:.1f} s after the stop")
        await conclude(stage, findings)
        metrics = await stage.gateway.metrics()
        ejections = sum(value for name, value in metrics.items() if name.startswith("turpin_backend_ejections_total"))
        states = [arm["state"] for arm in (await stage.gateway.state()).get("arms", ())]
        findings.figures |= {
            "stops": times,
            "backends ejected": int(ejections),
        }
        findings.hold(ejections == 0, f"{ejections:g} healthy backends were ejected")
        findings.hold(states == ["eligible"] * 3, f"arms are {states}")
