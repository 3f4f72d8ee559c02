"""The virtual clock the shells are tested with."""

import asyncio
import time

import pytest

from tests.simulated_loop import SimulatedDeadlock, run_simulated


def test_a_day_takes_a_moment_and_timers_fire_in_order() -> None:
    seen: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((name, asyncio.get_running_loop().time()))

    async def scenario() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(sleeper("day", 86_400.0))
            group.create_task(sleeper("second", 1.0))

    started = time.monotonic()
    run_simulated(scenario())

    assert seen == [("second", 1.0), ("day", 86_400.0)]
    assert time.monotonic() - started < 5.0


def test_waiting_for_what_can_never_happen_is_reported_with_who_waits_where() -> None:
    async def scenario() -> None:
        await asyncio.Event().wait()

    with pytest.raises(SimulatedDeadlock, match=r"all 1 tasks wait at 0\.000000 s:\n  Task-\d+ at .*scenario:\d+"):
        run_simulated(scenario())
