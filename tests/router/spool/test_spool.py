"""Rewards that come while the store is away wait on the disk, and count once each when it is back."""

import asyncio
import errno
import fcntl
import json
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from router.metrics import Metrics
from router.spool import SPOOL_AGE_S, Spool, Spooled
from router.spool.entries import Parcel, frame_of, read_frame
from router.spool.file import SpoolFull
from router.store import Reward, RewardResult, StoreError, StoreUnavailable, StoreUnopenable
from router.store.contract import INT64_MAX
from router.store.memory import MemoryStore
from tests.crashes.spool_story import spool_on
from tests.router.store.samples import CELL, HOUR, NOW, nonce, reward
from tests.simulated_disk import Machine, SimulatedDisk
from tests.simulated_loop import run_simulated

MIB = 2**20


class FlakyStore(MemoryStore):
    """A store in memory that may be away, also after it has done what it was asked. Mutable: both."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.is_mute = False
        self.refuses = ""

    async def add_rewards(self, rewards: Sequence[Reward]) -> list[RewardResult]:
        if self.is_away:
            raise StoreUnavailable("away")
        if self.refuses:
            raise StoreError(self.refuses)
        found = await super().add_rewards(rewards)
        if self.is_mute:
            raise StoreUnavailable("no answer")
        return found


@pytest.fixture
async def store() -> FlakyStore:
    found = FlakyStore()
    await found.open()
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def spool_in(folder: Path, store: FlakyStore, *, bytes_max: int = MIB, now: float = NOW) -> Spool:
    return Spool(folder, bytes_max, store=store, metrics=Metrics(), unix_now=lambda: now)


@pytest.fixture
async def spool(folder: Path, store: FlakyStore) -> AsyncIterator[Spool]:
    found = spool_in(folder, store)
    await found.open()
    yield found
    await found.close()


async def counted(store: FlakyStore) -> int:
    sums = await store.sums(CELL.epoch)
    return sums[CELL.arm, CELL.block]["rewards"] if sums else 0


def own_files(folder: Path) -> list[Path]:
    return list(folder.glob("*.spool"))


def files(folder: Path) -> list[int]:
    return sorted(path.stat().st_size for path in own_files(folder))


async def test_what_waits_is_counted_once_and_the_file_is_empty_again(
    spool: Spool, store: FlakyStore, folder: Path
) -> None:
    for start in range(0, 3000, 100):
        await spool.put([Spooled(reward(number)) for number in range(start, start + 100)])
    assert (spool.is_empty, files(folder)[0] > 0) == (False, True)

    await spool.drain()

    assert await counted(store) == 3000
    assert (spool.is_empty, files(folder)) == (True, [0])


async def test_nothing_leaves_while_the_store_is_away(spool: Spool, store: FlakyStore) -> None:
    await spool.put([Spooled(reward(1))])
    store.is_away = True
    await spool.drain()
    assert not spool.is_empty
    store.is_away = False

    await spool.drain()
    assert await counted(store) == 1


async def test_refusal_is_said_once_for_each_reason_and_counted(
    spool: Spool, store: FlakyStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await spool.put([Spooled(reward(1))])
    for store.refuses in ("a wrong password", "a wrong password", "a wrong password", "no rights", "no rights"):
        await spool.drain()
    store.refuses = ""

    await spool.drain()

    said = [record.getMessage() for record in caplog.records]
    assert said == ["the store refused spooled rewards: they wait"] * 2 + [
        "the store takes spooled rewards again",
        "spooled rewards are in the store",
    ]
    assert vars(caplog.records[2])["refusals"] == 5
    assert await counted(store) == 1


async def test_reward_that_was_counted_without_an_answer_counts_once(spool: Spool, store: FlakyStore) -> None:
    store.is_mute = True
    with pytest.raises(StoreUnavailable):
        await store.add_rewards([reward(1)])
    await spool.put([Spooled(reward(1)), Spooled(reward(2))])
    await spool.drain()
    store.is_mute = False

    await spool.drain()
    assert await counted(store) == 2


async def test_process_that_dies_leaves_its_rewards_to_the_next(folder: Path, store: FlakyStore) -> None:
    dead = spool_in(folder, store)
    await dead.open()
    await dead.put([Spooled(reward(1))])
    # What the kernel does when a process is killed: the lock goes, the file stays.
    (path,) = own_files(folder)
    content = path.read_bytes()
    await dead.close()
    path.write_bytes(content + content[: len(content) // 2])
    heir = spool_in(folder, store)
    await heir.open()
    assert not heir.is_empty

    await heir.drain()
    assert await counted(store) == 1
    assert files(folder) == [0]
    await heir.close()


async def test_files_of_living_processes_are_left_alone(folder: Path, store: FlakyStore) -> None:
    alive, other = spool_in(folder, store), spool_in(folder, store)
    await alive.open()
    await alive.put([Spooled(reward(1))])
    await other.open()

    assert (alive.is_empty, other.is_empty) == (False, True)
    await alive.close()
    await other.close()


async def test_full_spool_takes_no_more(folder: Path, store: FlakyStore) -> None:
    spool = spool_in(folder, store, bytes_max=1000)
    await spool.open()
    with pytest.raises(SpoolFull, match="1000 bytes"):
        await spool.put([Spooled(reward(number)) for number in range(100)])
    await spool.put([Spooled(reward(1))])
    await spool.drain()

    assert await counted(store) == 1
    await spool.close()


async def test_no_more_is_taken_once_the_oldest_has_waited_too_long(folder: Path, store: FlakyStore) -> None:
    clock = [NOW]
    spool = Spool(folder, MIB, store=store, metrics=Metrics(), unix_now=lambda: clock[0])
    await spool.open()
    await spool.put([Spooled(reward(1))])
    clock[0] += SPOOL_AGE_S
    await spool.put([Spooled(reward(2))])
    clock[0] += 1

    with pytest.raises(SpoolFull, match="has waited for 3601 s"):
        await spool.put([Spooled(reward(3))])
    await spool.close()


async def test_reward_whose_pair_may_be_forgotten_is_set_aside(folder: Path, store: FlakyStore) -> None:
    spool = spool_in(folder, store)
    await spool.open()
    await spool.put([Spooled(reward(1, expires_at=int(NOW))), Spooled(reward(2))])
    await spool.drain()
    await spool.close()

    assert await counted(store) == 1
    (line,) = (folder / "overdue.jsonl").read_text().splitlines()
    assert json.loads(line)["nonce"] == nonce(1).hex()


async def test_what_is_overdue_is_set_aside_once_however_long_the_store_is_away(
    folder: Path, store: FlakyStore
) -> None:
    spool = spool_in(folder, store)
    await spool.open()
    await spool.put([Spooled(reward(1, expires_at=int(NOW))), Spooled(reward(2))])
    store.is_away = True
    for _ in range(5):
        await spool.drain()
    assert not (folder / "overdue.jsonl").exists()
    store.is_away = False
    await spool.drain()
    await spool.close()

    assert await counted(store) == 1
    assert len((folder / "overdue.jsonl").read_text().splitlines()) == 1


async def test_later_trial_of_a_unit_is_kept_apart(spool: Spool, store: FlakyStore) -> None:
    unit = reward(77, 5.0, event="", fields={"decisions": 1})
    await store.add_rewards([unit])
    later = reward(77, 6.0, event="", fields={"decisions": 1})
    await spool.put([Spooled(reward(1), unit), Spooled(reward(2), later)])
    await spool.drain()

    sums = (await store.sums(CELL.epoch))[CELL.arm, CELL.block]
    assert (sums["rewards"], sums["unlearned_rewards"], sums["decisions"]) == (1, 1, 1)


async def test_disk_that_takes_nothing_is_said(
    spool: Spool, store: FlakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(StoreUnavailable, match="No space left"):
        await spool.put([Spooled(reward(1))])
    monkeypatch.undo()
    await spool.put([Spooled(reward(2))])
    await spool.drain()

    # What was refused was promised to nobody, and is not there.
    assert await counted(store) == 1


class BrokenDisk(SimulatedDisk):
    """A disk that fails whenever it is told to. Mutable: that."""

    def __init__(self) -> None:
        super().__init__(Machine(), self._fail)
        self.is_broken = False

    def _fail(self, *_: object) -> None:
        if self.is_broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


async def test_disk_that_fails_ends_nothing_and_loses_nothing(store: FlakyStore) -> None:
    disk = BrokenDisk()
    spool = spool_on(disk, store)
    await spool.open()
    await spool.put([Spooled(reward(1))])
    # Counted, but the file can't be emptied.
    disk.is_broken = True
    await spool.drain()
    with pytest.raises(StoreUnavailable, match="Input/output error"):
        await spool.put([Spooled(reward(2))])
    assert not spool.is_empty
    disk.is_broken = False
    await spool.put([Spooled(reward(3))])
    await spool.drain()

    assert (await counted(store), spool.is_empty) == (2, True)


async def test_store_that_refuses_what_was_spooled_ends_nothing(store: FlakyStore) -> None:
    spool = spool_on(SimulatedDisk(Machine()), store)
    await spool.open()
    await store.add_rewards([reward(1, fields={"rewards": INT64_MAX})])
    await spool.put([Spooled(reward(2))])

    await spool.drain()
    assert not spool.is_empty


def test_what_is_put_while_the_last_is_drained_still_waits() -> None:
    acknowledged = 0

    async def put(spool: Spool, number: int) -> None:
        nonlocal acknowledged
        await spool.put([Spooled(reward(number))])
        acknowledged += 1

    async def scenario() -> int:
        store = FlakyStore()
        await store.open()
        spool = spool_on(SimulatedDisk(Machine()), store, takes_s=lambda: 0.01)
        await spool.open()
        for later_ms in range(60):
            await put(spool, 2 * later_ms)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(spool.drain())
                await asyncio.sleep(later_ms / 1e3)
                tasks.create_task(put(spool, 2 * later_ms + 1))
                for _ in range(60):
                    await asyncio.sleep(0.001)
                    assert acknowledged == await counted(store) or not spool.is_empty
            await spool.drain()
            assert spool.is_empty
        return await counted(store)

    assert run_simulated(scenario()) == 120


async def test_folder_that_can_not_be_made_is_told_at_the_start(tmp_path: Path, store: FlakyStore) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreUnopenable, match=r"spool\.folder"):
        await spool_in(tmp_path / "file" / "spool", store).open()


def test_torn_or_altered_frame_is_none() -> None:
    frame = frame_of([Spooled(reward(1, expires_at=HOUR), reward(2))], NOW)

    def parcel_of(content: bytes) -> Parcel | None:
        return read_frame(lambda at, count: content[at : at + count], 0)

    for content in (frame[:-1], frame[:3], b"", frame[:-1] + b"?", b"\xff" * 40, bytes(40)):
        assert parcel_of(content) is None
    parcel = parcel_of(frame)
    assert parcel is not None
    assert (parcel.entries[0], parcel.next_at) == (Spooled(reward(1, expires_at=HOUR), reward(2)), len(frame))


async def test_own_file_is_locked(spool: Spool, folder: Path) -> None:
    (path,) = own_files(folder)
    with path.open("rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert path.stat().st_mode & 0o777 == 0o600
