"""Crashes of a machine while SQLite writes: of what one commit or checkpoint changes on the disk, any part is there.

Before and after each of them the files are copied. In between a disk holds each of its sectors as it was or as it is to be,
and the file may end anywhere. Whoever opens that must find the sums before or after, exactly, and the pairs that go with
them. SQLite syncs its log before it writes to the file, and the file before it begins the log anew, so that never both
change in one step; the story asks for checkpoints apart to keep to that.
"""

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from router.store import Reward
from router.store.lane import Job
from router.store.sqlite_file import connect
from router.store.sqlite_threads import SqliteWriter
from router.store.sqlite_writes import Transaction
from tests.router.store.samples import CELL, reward

# What disks write as a whole.
_SECTOR: Final = 512
_HEAD_BYTES: Final = 32
_COMMITS: Final = 24
# Every so many commits what is in the log goes to the file, and the log begins anew.
_CHECKPOINT_EVERY: Final = 7
_NUMBERS: Final = 400

Known = dict[tuple[int, int], tuple[int, int]]  # rewards and their sum, by (arm, block)


@dataclass(frozen=True, slots=True)
class State:
    """The files at one time, and what whoever reads them is to find."""

    file: bytes
    log: bytes
    sums: Known
    pairs: int


def story(path: Path, seed: int) -> list[State]:
    """Commit groups of rewards, some of them known, and go through checkpoints; return the state after each step."""
    rng = random.Random(seed)
    with asyncio.Runner() as runner:
        return runner.run(_story(path, rng))


async def _story(path: Path, rng: random.Random) -> list[State]:
    writer = SqliteWriter(str(path))
    writer.open()
    connection = writer._connection
    assert connection is not None
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    # A crash is simulated here, not waited for.
    connection.execute("PRAGMA synchronous = OFF")
    sums: Known = {}
    seen: set[int] = set()
    states = [_state(path, sums, 0)]
    for commit in range(1, _COMMITS + 1):
        jobs = [_job(_rewards(rng, sums, seen)) for _ in range(rng.randint(1, 4))]
        writer.perform(jobs)
        assert not [job.outcome for job in jobs if isinstance(job.outcome, Exception)]
        states.append(_state(path, sums, len(seen)))
        if commit % _CHECKPOINT_EVERY == 0:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            states.append(_state(path, sums, len(seen)))
    writer.close()
    return states


def _job(rewards: list[Reward]) -> Job[Transaction, object]:
    return Job(lambda transaction: transaction.add_rewards(rewards), rewards)


def _rewards(rng: random.Random, sums: Known, seen: set[int]) -> list[Reward]:
    made = []
    for _ in range(rng.randint(1, 12)):
        number = rng.randrange(_NUMBERS)
        cell = CELL._replace(arm=number % 3, block=number % 5)
        made.append(reward(number, 1.0, cell=cell, fields={"rewards": 1, "reward_q": number}))
        if number not in seen:
            seen.add(number)
            count, total = sums.get((cell.arm, cell.block), (0, 0))
            sums[cell.arm, cell.block] = (count + 1, total + number)
    return made


def _state(path: Path, sums: Known, pairs: int) -> State:
    return State(path.read_bytes(), path.with_name(path.name + "-wal").read_bytes(), dict(sums), pairs)


def broken(folder: Path, seed: int, points: int, *, is_synced: bool = True) -> Iterator[tuple[str, str]]:
    """Crash so many times somewhere in a story; yield for each what it was and what was wrong (empty: nothing).

    Without `is_synced`, what was acknowledged may not be on the disk either, as with a setting that does not sync.
    """
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    states = story(folder / "story.db", seed)
    for point in range(points):
        place = rng.randrange(len(states) - 1)
        before, after = states[place], states[place + 1]
        left = folder / "left.db"
        left.write_bytes(_torn(rng, before.file, after.file))
        log = folder / "left.db-wal"
        log.write_bytes(_torn_log(rng, before.log if is_synced else states[max(0, place - 2)].log, after.log))
        yield f"seed {seed}, point {point}, after step {place}", _wrong(left, before, after)
        for name in ("left.db", "left.db-wal", "left.db-shm"):
            (folder / name).unlink(missing_ok=True)


def _torn_log(rng: random.Random, before: bytes, after: bytes) -> bytes:
    """Return what may lie on the disk of the log. One that begins anew has its head synced before all else: without that
    SQLite would read a part of what it had moved into the file already (wal.c, where it writes the head)."""
    left = _torn(rng, before, after)
    if before[_HEAD_BYTES : len(left)] != left[_HEAD_BYTES : len(before)]:
        left = after[:_HEAD_BYTES] + left[_HEAD_BYTES:]
    return left


def _torn(rng: random.Random, before: bytes, after: bytes) -> bytes:
    """Return what may lie on the disk while it goes from the one to the other."""
    if before == after:
        return before
    length = rng.choice((len(before), len(after), rng.randint(*sorted((len(before), len(after))))))
    kind = rng.random()
    if kind < 0.4:
        # In order, up to any byte.
        cut = rng.randint(0, len(after))
        return (after[:cut] + before[cut:])[: max(length, cut)]
    left = bytearray(before.ljust(length, b"\0")[:length])
    share = rng.random()
    for at in range(0, length, _SECTOR):
        if rng.random() < share:
            piece = after[at : min(length, at + _SECTOR)]
            left[at : at + len(piece)] = piece
    return bytes(left)


def _wrong(path: Path, before: State, after: State) -> str:
    try:
        connection = connect(str(path))
        try:
            connection.execute("PRAGMA synchronous = OFF")
            check = connection.execute("PRAGMA integrity_check").fetchone()[0]
            rows = connection.execute("SELECT arm, block, rewards, reward_q FROM sums").fetchall()
            pairs = connection.execute("SELECT count(*) FROM counted").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        return f"it can't be read: {error}"
    found = ({(arm, block): (count, total) for arm, block, count, total in rows}, pairs)
    if check != "ok":
        return f"integrity: {check}"
    if found not in ((before.sums, before.pairs), (after.sums, after.pairs)):
        return f"found {found}, wanted {before.sums} or {after.sums}"
    return ""
