"""An SQLite store on a disk that is full or turns read-only: a clear word, nothing half done, and on it goes afterwards.

A real small disk is mounted where that is permitted (as root); elsewhere those tests are skipped, and SQLite's own bound on
pages stands in for a full one. What is said of a corrupt file and a newer schema is tested in test_sqlite_file.py.
"""

import asyncio
import contextlib
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from router.store import RewardResult, StoreUnavailable, StoreUnopenable, open_store
from router.store.sqlite import SqliteStore
from tests.router.store.samples import CELL, NOW, reward

RECORDED, DUPLICATE = RewardResult.RECORDED, RewardResult.DUPLICATE
_BATCH = 200


def mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of half a MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with contextlib.ExitStack() as undo:
        mount("-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder))
        undo.callback(subprocess.run, ["umount", "-l", str(folder)], check=True)
        yield folder


async def until_full(store: SqliteStore) -> int:
    """Add rewards until no more are taken; return how many were acknowledged."""
    for first in range(0, 100_000, _BATCH):
        try:
            assert await store.add_rewards([reward(first + one) for one in range(_BATCH)]) == [RECORDED] * _BATCH
        except StoreUnavailable as error:
            assert "is full: free some space; nothing was written" in str(error)  # noqa: PT017 - it comes sooner or later
            return first
    raise AssertionError("the disk is not full")


async def full_and_free_again(store: SqliteStore, free: Callable[[], Awaitable[object]]) -> None:
    acknowledged = await until_full(store)
    # Reads go on, and so does nothing else.
    assert (await store.sums(CELL.epoch))[CELL.arm, CELL.block]["rewards"] == acknowledged
    with pytest.raises(StoreUnavailable, match="full"):
        await store.add_rewards([reward(acknowledged + one) for one in range(_BATCH)])

    await free()
    results = await store.add_rewards([reward(one) for one in range(acknowledged + _BATCH)])

    assert results == [DUPLICATE] * acknowledged + [RECORDED] * _BATCH
    assert (await store.sums(CELL.epoch))[CELL.arm, CELL.block]["rewards"] == acknowledged + _BATCH


async def test_bound_on_pages_is_a_full_disk(path: Path) -> None:
    store = SqliteStore(str(path))
    await store.open()

    async def bound(pages: int) -> None:
        await store._write(lambda transaction: transaction._execute(f"PRAGMA max_page_count = {pages}").fetchall())

    await bound(80)

    await full_and_free_again(store, lambda: bound(10_000))
    await store.close()


async def test_full_disk_takes_no_more_and_all_again_when_there_is_room(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(150_000))
    store = SqliteStore(str(small_disk / "turpin.db"))
    await store.open()

    await full_and_free_again(store, lambda: asyncio.to_thread(ballast.unlink))
    await store.close()


async def test_disk_that_turns_read_only_is_named_in_use_and_at_the_start(small_disk: Path) -> None:
    path = small_disk / "turpin.db"
    store = SqliteStore(str(path))
    await store.open()
    await store.flush("g", 1, {CELL: {"rows": 1}}, b"", NOW)
    await store.close()
    mount("-o", "remount,ro", str(small_disk))

    with pytest.raises(StoreUnopenable, match=r"turpin\.db"):
        await open_store(f"sqlite://{path}").open()
    with pytest.raises(StoreUnopenable, match="let this user write to its folder"):
        await open_store(f"sqlite://{small_disk}/new/turpin.db").open()

    mount("-o", "remount,rw", str(small_disk))
    again = SqliteStore(str(path))
    await again.open()
    assert (await again.sums(CELL.epoch))[CELL.arm, CELL.block]["rows"] == 1
    await again.close()
