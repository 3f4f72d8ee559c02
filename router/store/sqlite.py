"""The store in an SQLite file: the embedded default, shared by the processes of one machine.

One thread per process writes, in groups that share one commit and its fsync; another reads, on a connection of its own.

Measured on two cores that others used too (SQLite 3.40, ext4, client included): 15,000 to 34,000 rewards/s in batches of 64
from 1 to 16 callers, 4,000 to 10,000/s one at a time from 64 callers, 11,000 to 20,000/s from two processes together; with
600,000 pairs remembered 25,000/s. A remembered pair takes 37 to 44 bytes of the file. A loop that never rests costs the most:
beside it 2,000 to 4,500/s, as the writer has to wait for Python's lock at each of its eight statements.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from router.store import ledger
from router.store.contract import (
    FIELDS,
    INT64_MAX,
    Cell,
    Changed,
    Deltas,
    Entry,
    Record,
    Reward,
    RewardResult,
    check_cell,
    check_fields,
)
from router.store.lane import Job, Lane
from router.store.sqlite_threads import SqliteReader, SqliteWriter
from router.store.sqlite_writes import Transaction, signed

Result = TypeVar("Result")


class SqliteStore:
    """A Store in a file; `path` is absolute. The file is on a local disk: SQLite's log needs shared memory."""

    def __init__(self, path: str) -> None:
        self._writer = Lane(f"the writer of {path}", SqliteWriter(path))
        self._reader = Lane(f"the reader of {path}", SqliteReader(path))

    async def open(self) -> None:
        """Open the file, and make it (mode 0600) and its folder if they are missing."""
        await self._writer.open()
        try:
            await self._reader.open()
        except BaseException:
            await self._writer.close()
            raise

    async def close(self) -> None:
        """Commit what is queued and close the file."""
        await self._reader.close()
        await self._writer.close()

    async def flush(self, gateway: str, sequence: int, deltas: Deltas, heartbeat: bytes, now: float) -> None:
        """Add a gateway's counts once."""
        # A copy: a caller whose time ran out may go on counting while the writer still reads.
        copy = {Cell(*cell): dict(fields) for cell, fields in deltas.items()}
        for cell, fields in copy.items():
            check_cell(cell)
            check_fields(fields)
        await self._write(lambda transaction: transaction.flush(gateway, sequence, copy, heartbeat, now))

    async def add_rewards(self, rewards: Sequence[Reward]) -> list[RewardResult]:
        """Count each reward whose (nonce, event) is new; on disk when it returns."""
        if not rewards:
            return []
        copy = tuple(rewards)
        return await self._writer.ask(Job(lambda transaction: transaction.add_rewards(copy), copy))

    async def sums(self, epoch: int) -> dict[tuple[int, int], dict[str, int]]:
        """Return the sums per (arm, block) of an epoch."""
        check_cell(Cell(epoch, 0, 0))
        statement = f"SELECT arm, block, {', '.join(FIELDS)} FROM sums WHERE epoch = ?"  # noqa: S608 - our own names

        def read(connection: sqlite3.Connection) -> dict[tuple[int, int], dict[str, int]]:
            rows = connection.execute(statement, (signed(epoch),))
            return {(row[0], row[1]): dict(zip(FIELDS, row[2:], strict=True)) for row in rows}

        # Here and not in the loop: 50 arms in 25 blocks were up to 25 ms beside threads that compute.
        return await self._reader.ask(Job(read))

    async def sums_since(self, epoch: int, stamp: int) -> Changed:
        """Return the sums of an epoch that have changed."""
        check_cell(Cell(epoch, 0, 0))
        rows = await self._rows(
            f"SELECT changed, arm, block, {', '.join(FIELDS)} FROM sums WHERE epoch = ? AND changed >= ?",  # noqa: S608 - ours
            signed(epoch),
            stamp,
        )
        cells = {(row[1], row[2]): dict(zip(FIELDS, row[3:], strict=True)) for row in rows}
        return Changed(max((row[0] + 1 for row in rows), default=stamp), cells)

    async def heartbeats(self, now: float, max_age_s: float) -> dict[str, bytes]:
        """Return the last heartbeat of every gateway that flushed within `max_age_s`."""
        return dict(await self._rows("SELECT gateway, heartbeat FROM gateways WHERE seen >= ?", now - max_age_s))

    async def experiments(self) -> list[Record]:
        """Return all experiments, by name."""
        rows = await self._rows("SELECT name, revision, document FROM experiments ORDER BY name")
        return [Record(*row) for row in rows]

    async def save_experiment(
        self, name: str, document: bytes, expected_revision: int, fence: int | None, entries: Sequence[Entry] = ()
    ) -> int:
        """Store a document in place of the revision its writer had read, and tell histories of it."""
        return await self._write(
            lambda transaction: transaction.save(
                "experiments", name, document, expected_revision, fence, tuple(entries)
            )
        )

    async def remove_experiment(
        self, name: str, expected_revision: int, fence: int | None, entries: Sequence[Entry] = ()
    ) -> None:
        """Forget a document and its snapshot."""
        await self._write(
            lambda transaction: transaction.remove_experiment(name, expected_revision, fence, tuple(entries))
        )

    async def backends(self) -> list[Record]:
        """Return what managed backends are to serve."""
        rows = await self._rows("SELECT name, revision, document FROM backends ORDER BY name")
        return [Record(*row) for row in rows]

    async def save_backend(self, name: str, document: bytes, expected_revision: int, fence: int) -> int:
        """Store what a backend is to serve in place of the revision its writer had read."""
        return await self._write(
            lambda transaction: transaction.save("backends", name, document, expected_revision, fence)
        )

    async def deployments(self) -> list[Record]:
        """Return all deployments of versions."""
        rows = await self._rows("SELECT name, revision, document FROM deployments ORDER BY name")
        return [Record(*row) for row in rows]

    async def save_deployment(
        self, name: str, document: bytes, expected_revision: int, fence: int | None, entries: Sequence[Entry] = ()
    ) -> int:
        """Store how far a deployment is, and tell histories of it."""
        return await self._write(
            lambda transaction: transaction.save_deployment(name, document, expected_revision, fence, tuple(entries))
        )

    async def prices(self) -> list[Record]:
        """Return what the leader holds of fed prices."""
        rows = await self._rows("SELECT name, revision, document FROM prices ORDER BY name")
        return [Record(*row) for row in rows]

    async def save_price(
        self, name: str, document: bytes, expected_revision: int, fence: int | None, entries: Sequence[Entry] = ()
    ) -> int:
        """Store what is held of a backend's price, and tell histories of it."""
        return await self._write(
            lambda transaction: transaction.save("prices", name, document, expected_revision, fence, tuple(entries))
        )

    async def bills(self) -> list[Record]:
        """Return what model servers have cost so far."""
        rows = await self._rows("SELECT name, revision, document FROM bills ORDER BY name")
        return [Record(*row) for row in rows]

    async def save_bill(self, name: str, document: bytes, expected_revision: int, fence: int) -> int:
        """Store what a backend has cost so far."""
        return await self._write(
            lambda transaction: transaction.save("bills", name, document, expected_revision, fence)
        )

    async def append_history(self, name: str, entry: bytes, fence: int) -> None:
        """Add an entry to an experiment's history."""
        await self._write(lambda transaction: transaction.append_history(name, entry, fence))

    async def history(self, name: str, limit: int) -> list[bytes]:
        """Return the last `limit` entries, the oldest of them first."""
        return (await self.page(name, limit, None))[0]

    async def page(self, name: str, limit: int, before: int | None) -> tuple[list[bytes], int | None]:
        """Return the last `limit` entries before a number."""
        rows = await self._rows(
            "SELECT id, entry FROM history WHERE name = ? AND id < ? ORDER BY id DESC LIMIT ?",
            name,
            INT64_MAX if before is None else before,
            max(0, limit) + 1,
        )
        return ledger.page(rows[::-1], limit)

    async def publish(self, name: str, version: int, snapshot: bytes, fence: int) -> None:
        """Make a snapshot the experiment's current one."""
        await self._write(lambda transaction: transaction.publish(name, version, snapshot, fence))

    async def snapshots(self) -> dict[str, tuple[int, bytes]]:
        """Return the current snapshot of every experiment."""
        rows = await self._rows("SELECT name, version, snapshot FROM snapshots")
        return {name: (version, snapshot) for name, version, snapshot in rows}

    async def lease(self, owner: str, now: float, ttl_s: float) -> int | None:
        """Take or renew the lease on leading."""
        return await self._write(lambda transaction: transaction.lease(owner, now, ttl_s))

    async def release(self, owner: str) -> None:
        """Give the lease back."""
        await self._write(lambda transaction: transaction.release(owner))

    async def _write(self, run: Callable[[Transaction], Result]) -> Result:
        return await self._writer.ask(Job(run))

    async def _rows(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        def read(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
            return connection.execute(statement, parameters).fetchall()

        return await self._reader.ask(Job(read))
