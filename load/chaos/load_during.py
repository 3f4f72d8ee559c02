"""Predictions and rewards that go on while something else happens, and what they noticed of it."""

import asyncio
import contextlib
import statistics
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from load.chaos.case import Findings
from load.chaos.checker import Verdict
from load.chaos.stage import Stage
from load.switching.open_loop import Call
from load.switching.windows import quantile

_SETTLE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Window:
    """Seconds on the loop's clock, and the calls that were due in them."""

    calls: Sequence[Call]

    @property
    def p99_s(self) -> float:
        """How long the slowest hundredth of a second's calls took, from when they were due: the median of all seconds.

        An outage is in every second of its window; what else a machine does comes and goes.
        """
        by_second: defaultdict[int, list[float]] = defaultdict(list)
        for call in self.calls:
            by_second[int(call.due_at)].append(call.seconds)
        return statistics.median(quantile(sorted(took), 0.99) for took in by_second.values())


class Watch:
    """Cuts the calls of a stage into windows. Mutable: where the present one began."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._now = asyncio.get_running_loop().time
        self._began = self._now()

    def cut(self) -> Window:
        """End a window and begin the next; calls that are not answered yet are not in it."""
        began, self._began = self._began, self._now()
        return Window([call for call in self._stage.predictions.calls if began <= call.due_at < self._began])


async def conclude(stage: Stage, findings: Findings, *, failed_max: int = 0) -> Verdict:
    """Settle what is open and hold the books against the store, before and after; write down what all cases do."""
    _, before = await stage.caught_up(_SETTLE_S)
    await stage.payers.settle(_SETTLE_S)
    _, verdict = await stage.caught_up(_SETTLE_S)
    failed = stage.predictions.failed
    findings.figures |= {
        "predictions": len(stage.predictions.calls),
        "predictions failed": len(failed),
        "acknowledged": verdict.acknowledged,
        "open before they were sent again": before.open,
        "lost": verdict.lost,
        "double": verdict.double,
    }
    errors = sorted({call.error for call in failed})[:3]
    findings.hold(len(failed) <= failed_max, f"{len(failed)} predictions failed: {errors}")
    findings.hold(not stage.predictions.wrong, f"wrong answers: {stage.predictions.wrong[:3]}")
    findings.hold(verdict.open == 0, f"{verdict.open} rewards were never settled")
    for difference in dict.fromkeys((*before.differences, *verdict.differences)):
        findings.hold(False, difference)
    return verdict


@contextlib.asynccontextmanager
async def rewarding(stage: Stage) -> AsyncIterator[asyncio.Event]:
    """Bring rewards for all decisions; yield what ends that earlier."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stage.payers.run(stage.predictions.stock, stop), name="rewards")
        try:
            yield stop
        finally:
            stop.set()
