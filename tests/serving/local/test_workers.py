import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from serving.errors import InvalidArgument, QueueFull
from serving.local.workers import Workers


@pytest.fixture
async def one_thread() -> AsyncIterator[Workers]:
    """One thread, at most three calls."""
    workers = Workers(1, waiting_max=3)
    yield workers
    workers.close()


async def test_outcomes_go_to_their_callers(one_thread: Workers) -> None:
    def refuse() -> None:
        raise InvalidArgument("no")

    async with asyncio.TaskGroup() as tasks:
        sums = [tasks.create_task(one_thread.run(sum, [n, 1])) for n in range(2)]
        with pytest.raises(InvalidArgument, match="no"):
            await one_thread.run(refuse)

    assert [task.result() for task in sums] == [1, 2]


async def test_call_of_a_caller_who_left_never_runs(one_thread: Workers) -> None:
    gate, entered, ran = threading.Event(), threading.Event(), list[int]()

    def block() -> None:
        entered.set()
        assert gate.wait(10)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(one_thread.run(block))
        left = tasks.create_task(one_thread.run(ran.append, 1))
        assert await asyncio.to_thread(entered.wait, 10)
        left.cancel()
        gate.set()
    await one_thread.run(ran.append, 2)

    assert ran == [2]


async def test_more_than_the_bound_are_refused_and_it_recovers(one_thread: Workers) -> None:
    gate = threading.Event()
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(one_thread.run(gate.wait, 10)) for _ in range(3)]
        await asyncio.sleep(0)  # they have all begun
        with pytest.raises(QueueFull, match="3 calls wait, at most 3 may"):
            await one_thread.run(gate.wait, 10)
        gate.set()

    assert [task.result() for task in waiting] == [True, True, True]
    assert await one_thread.run(sum, [1, 2]) == 3


async def test_threads_run_beside_each_other() -> None:
    workers = Workers(2)
    barrier = threading.Barrier(2, timeout=10)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(workers.run(barrier.wait))
        tasks.create_task(workers.run(barrier.wait))

    workers.close()
