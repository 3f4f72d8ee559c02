"""Threads interrupt one another unless the process has no time to spare, and only those that nobody else has a say in."""

import asyncio
import os
import threading
from collections.abc import Iterator

import pytest

from router.preemption import Preemption, allow, follow
from tests.simulated_loop import run_simulated

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="this system has no SCHED_BATCH")


def heard(*shares: float) -> list[bool]:
    """What is said after quarters of a second in which the process took such shares of a core."""
    preemption, used_s = Preemption(), 7.0
    said = [preemption.heard(used_s, 100.0)]
    for number, share in enumerate(shares, 1):
        used_s += 0.25 * share
        said.append(preemption.heard(used_s, 100.0 + 0.25 * number))
    return said


def test_they_may_until_the_process_takes_a_whole_core() -> None:
    assert heard(0.1, 0.89, 0.95) == [True, True, True, False]


def test_what_it_saves_does_not_end_it() -> None:
    assert heard(0.95, 0.76, 0.61, 0.59, 0.85) == [True, False, False, False, True, True]


def test_no_time_that_has_passed_changes_nothing() -> None:
    preemption = Preemption()

    assert [preemption.heard(1.0, 5.0), preemption.heard(9.0, 5.0)] == [True, True]


def policies() -> set[int]:
    return {os.sched_getscheduler(int(task)) for task in os.listdir("/proc/self/task")}


@pytest.fixture
def waiting() -> Iterator[int]:
    """A thread beside this one, by its number."""
    end, begun = threading.Event(), threading.Event()
    numbers: list[int] = []

    def wait() -> None:
        numbers.append(threading.get_native_id())
        begun.set()
        end.wait()

    thread = threading.Thread(target=wait)
    thread.start()
    begun.wait()
    yield numbers[0]
    end.set()
    thread.join()


def test_all_threads_are_told_and_told_back(waiting: int) -> None:
    try:
        allow(is_allowed=False)
        assert policies() == {os.SCHED_BATCH}
    finally:
        allow(is_allowed=True)
    assert policies() == {os.SCHED_OTHER}


def test_a_policy_that_somebody_chose_stays(waiting: int) -> None:
    os.sched_setscheduler(waiting, os.SCHED_IDLE, os.sched_param(0))

    for is_allowed in (False, True):
        allow(is_allowed=is_allowed)
        assert os.sched_getscheduler(waiting) == os.SCHED_IDLE
    assert policies() == {os.SCHED_IDLE, os.SCHED_OTHER}


def test_a_process_follows_how_busy_it_is() -> None:
    seen: list[int] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            # It takes all of a core until 5 s have passed, and nothing from then on.
            following = tasks.create_task(follow(lambda: min(loop.time(), 5.0)))
            for _ in range(3):
                seen.append(os.sched_getscheduler(0))
                await asyncio.sleep(4.0)
            following.cancel()

    try:
        run_simulated(scenario())
    finally:
        allow(is_allowed=True)

    assert seen == [os.SCHED_OTHER, os.SCHED_BATCH, os.SCHED_OTHER]
