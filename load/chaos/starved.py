"""A gateway that does not run for a while, as on a starved machine: what comes after, and what it thinks of the world. G5."""

import asyncio
import os
import signal
from typing import Final

from load.chaos.case import Findings, Setting
from load.chaos.load_during import Watch, conclude, rewarding
from load.chaos.stage import Plan, staged

# Predictions that were due in the stop are late by it; those that are due so long after its end must not be.
_RECOVERED_S: Final = 2.0
_LATE_MAX_S: Final = 1.0


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
                await asyncio.sleep(_RECOVERED_S)
                watch = Watch(stage)
                await asyncio.sleep(2.0)
                after = watch.cut()
                findings.figures["p99 after it ms"] = max(
                    float(findings.figures.get("p99 after it ms", 0.0)), round(1e3 * after.p99_s, 1)
                )
                findings.hold(after.p99_s <= _LATE_MAX_S, f"p99 {after.p99_s:.2f} s two seconds after the stop")
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
