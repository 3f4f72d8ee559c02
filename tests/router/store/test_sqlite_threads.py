"""The writer under fire: cancelled callers, faulty calls, a file that goes away, a crash at any moment, two processes."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from router.store import Cell, RewardResult, Store, StoreError, StoreUnavailable, open_store
from router.store.sqlite_file import WriterLock
from tests.router.store.samples import CELL, NOW, reward

# Sends rewards first, first + 1, ... from eight tasks, a few per call, and prints the number of each once it is acknowledged.
CHILD = """
import asyncio, os, sys
from router.store import open_store
from router.store.sqlite_file import WriterLock
from tests.router.store.samples import reward

async def main(path, first, last):
    store = open_store(f"sqlite://{path}")
    await store.open()
    numbers = iter(range(first, last))

    async def send(size):
        while batch := [number for _, number in zip(range(size), numbers)]:
            await store.add_rewards([reward(number, float(number % 7)) for number in batch])
            os.write(1, b"".join(b"%d\\n" % number for number in batch))

    async with asyncio.TaskGroup() as tasks:
        for size in range(1, 9):
            tasks.create_task(send(size))
    await store.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""
ROOT = Path(__file__).parents[3]


def start(path: Path, first: int, last: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), str(first), str(last)], stdout=subprocess.PIPE, cwd=ROOT
    )


def acknowledged(output: bytes) -> set[int]:
    """Return the numbers in a child's output; a last line that the kill cut short was not acknowledged."""
    return {int(line) for line in output.split(b"\n")[:-1]}


async def counts(store: Store, cell: Cell = CELL) -> tuple[int, int]:
    sums = (await store.sums(cell.epoch)).get((cell.arm, cell.block), {})
    return sums.get("rewards", 0), sums.get("reward_q", 0)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_kill_at_any_moment_loses_no_acknowledged_reward_and_doubles_none(path: Path, seed: int) -> None:
    rng = random.Random(seed)
    enough = 200_000  # More than a child can send before it is killed.
    child = start(path, 0, enough)
    assert child.stdout is not None
    output = child.stdout.read(rng.randrange(10, 60_000))
    child.send_signal(signal.SIGKILL)
    output += child.stdout.read()
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    acked = acknowledged(output)
    tried = range(max(acked, default=0) + 100)  # Eight calls of up to eight were under way.

    async def check(store: Store) -> None:
        await store.open()
        before, _ = await counts(store)
        results: list[RewardResult] = []
        for first in range(0, len(tried), 2000):
            results += await store.add_rewards([reward(n, float(n % 7)) for n in tried[first : first + 2000]])
        assert {n for n in acked if results[n] is not RewardResult.DUPLICATE} == set()
        assert results.count(RewardResult.DUPLICATE) == before
        assert await counts(store) == (len(tried), sum(n % 7 for n in tried))
        await store.close()

    asyncio.run(check(open_store(f"sqlite://{path}")))
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_processes_that_write_one_file_at_once_lose_and_double_nothing(path: Path) -> None:
    children = [start(path, 0, 4000), start(path, 2000, 6000)]  # Half of each one's rewards are the other's too.
    acked = [acknowledged(child.communicate()[0]) for child in children]

    assert [child.returncode for child in children] == [0, 0]
    assert acked == [set(range(4000)), set(range(2000, 6000))]

    async def check(store: Store) -> None:
        await store.open()
        assert await counts(store) == (6000, sum(n % 7 for n in range(6000)))
        await store.close()

    asyncio.run(check(open_store(f"sqlite://{path}")))


async def test_two_stores_on_one_file_see_each_other(path: Path) -> None:
    one, other = open_store(f"sqlite://{path}"), open_store(f"sqlite://{path}")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(one.open())
        tasks.create_task(other.open())
    assert await one.lease("one", NOW, 5.0) == 1
    await one.add_rewards([reward(1)])

    assert await other.lease("other", NOW, 5.0) is None
    assert await other.add_rewards([reward(1), reward(2)]) == [RewardResult.DUPLICATE, RewardResult.RECORDED]
    await one.close()
    assert await other.add_rewards([reward(3)]) == [RewardResult.RECORDED]
    await other.close()


async def test_a_faulty_call_fails_alone(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = open_store(f"sqlite://{path}")
    await store.open()

    async def faulty() -> bool:
        with pytest.raises(StoreError, match="too large"):
            await store.publish("late", 2**70, b"", 0)  # SQLite takes no such integer.
        return True

    async with asyncio.TaskGroup() as tasks:
        good = [tasks.create_task(store.add_rewards([reward(number)])) for number in range(20)]
        early = tasks.create_task(store.publish("early", 1, b"s", 0))
        bad = tasks.create_task(faulty())
        good += [tasks.create_task(store.add_rewards([reward(number)])) for number in range(20, 40)]

    assert bad.result()
    assert early.done()
    assert [call.result() for call in good] == [[RewardResult.RECORDED]] * 40
    assert await store.snapshots() == {"early": (1, b"s")}
    assert await counts(store) == (40, 40)
    assert "a store call failed" in caplog.text
    await store.close()


async def test_cancelled_callers_leave_the_writer_whole(path: Path) -> None:
    store = open_store(f"sqlite://{path}")
    await store.open()
    rng = random.Random(3)
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(store.add_rewards([reward(number)])) for number in range(300)]
        for call in calls:
            if rng.random() < 0.5:
                await asyncio.sleep(0)
                call.cancel()

    results = await store.add_rewards([reward(number) for number in range(300)])
    for call, result in zip(calls, results, strict=True):
        assert call.cancelled() or result is RewardResult.DUPLICATE
    assert await counts(store) == (300, 300)
    await store.close()


async def test_what_is_counted_is_what_was_given_when_the_call_was_made(path: Path) -> None:
    store = open_store(f"sqlite://{path}")
    await store.open()
    rewards, deltas = [reward(1), reward(2)], {CELL: {"rows": 1}}
    elsewhere = WriterLock(str(path))
    async with asyncio.TaskGroup() as tasks:
        with elsewhere.held():  # So that both calls wait while their caller goes on with its objects.
            counted = tasks.create_task(store.add_rewards(rewards))
            tasks.create_task(store.flush("g", 1, deltas, b"", NOW))
            await asyncio.sleep(0)
            rewards.clear()
            deltas[CELL]["rows"] = 100

    assert counted.result() == [RewardResult.RECORDED] * 2
    assert (await store.sums(CELL.epoch))[CELL.arm, CELL.block]["rows"] == 1
    elsewhere.close()
    await store.close()


@pytest.mark.parametrize("is_replaced", [False, True])
async def test_what_would_go_into_a_removed_file_is_not_acknowledged(path: Path, is_replaced: bool) -> None:
    store = open_store(f"sqlite://{path}")
    await store.open()
    os.rename(path, f"{path}.old")
    if is_replaced:
        other = open_store(f"sqlite://{path}")
        await other.open()
        await other.close()

    with pytest.raises(StoreUnavailable, match="was removed or replaced while open"):
        await store.add_rewards([reward(1)])
    await store.close()


async def test_callers_that_wait_together_share_a_commit(path: Path) -> None:
    store = open_store(f"sqlite://{path}")
    await store.open()
    await store.add_rewards([reward(1000)])
    log = f"{path}-wal"
    alone = os.stat(log).st_size
    async with asyncio.TaskGroup() as tasks:
        for number in range(64):
            tasks.create_task(store.add_rewards([reward(number)]))
    # A commit writes at least two pages of 4 KiB (sums, counted): 64 commits of their own would write 128.
    assert os.stat(log).st_size - alone < 20 * 4096
    await store.close()
