"""One transaction on the SQLite file: what a group of calls reads, decides by the ledger's rules, and writes.

Statements carry many rows each. SQLite gives up Python's global lock at every step, and beside a busy event loop it takes
up to 5 ms to come back: a statement per reward would make that 5 ms per reward.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypeVar

from router.store import ledger
from router.store.contract import (
    DEPLOYMENTS_KEPT,
    FIELDS,
    GATEWAY_KEPT_S,
    HISTORY_KEPT,
    Cell,
    Deltas,
    Entry,
    Reward,
    RewardResult,
)

Row = TypeVar("Row")

# An older file has its columns in another order.
_COLUMNS = ", ".join(("epoch", "arm", "block", *FIELDS))

# Rows of one statement at most; with powers of two below it, nine texts serve all lengths from SQLite's statement cache.
_ROWS_PER_STATEMENT = 256
# Pairs looked at for their expiry per pair added: the sweep outruns the growth, so that the expired are at most a
# third of the living.
_SWEEP_PER_REWARD = 4
# And per commit that adds none: with a flush every 250 ms a million pairs are swept within 17 minutes.
_SWEEP_MIN = 256


class Sweep:
    """Where the search for expired pairs goes on. Mutable: `after`, the last nonce looked at, and `now` (unix s)."""

    __slots__ = ("after", "now")

    def __init__(self) -> None:
        self.after = b""
        self.now: float | None = None  # until a flush has told the time


class Transaction:
    """What is open between BEGIN and COMMIT. Mutable: the rows read so far, with this group's changes."""

    def __init__(self, connection: sqlite3.Connection, sweep: Sweep) -> None:
        self._execute = connection.execute
        self._sweep = sweep
        self._known: dict[ledger.Key, float] = {}
        self._totals: ledger.Totals = {}
        self._fresh: dict[ledger.Key, Reward] = {}
        self._changed: ledger.Totals = {}

    def load(self, rewards: Sequence[Reward]) -> None:
        """Read what deciding about these rewards takes; before any of them is added."""
        keys = {(reward.nonce, reward.event) for reward in rewards}
        for chunk in _chunks(list(keys)):
            rows = self._execute(
                f"WITH key (n, e) AS (VALUES {_places(2, len(chunk))}) SELECT nonce, event, value "  # noqa: S608 - places
                "FROM key CROSS JOIN counted ON nonce = n AND event = e",
                [part for key in chunk for part in key],
            )
            self._known.update({(nonce, event): value for nonce, event, value in rows})
        self._load_totals({reward.cell for reward in rewards})

    def add_rewards(self, rewards: Sequence[Reward]) -> list[RewardResult]:
        """Count rewards that were loaded."""
        counted = ledger.count_rewards(rewards, self._known, self._totals)
        self._fresh.update(counted.fresh)
        self._known.update({key: float(reward.value) for key, reward in counted.fresh.items()})
        self._change(counted.totals)
        return counted.results

    def flush(self, gateway: str, sequence: int, deltas: Deltas, heartbeat: bytes, now: float) -> None:
        """Add a gateway's counts once."""
        self._sweep.now = now
        last = self._execute("SELECT sequence FROM gateways WHERE gateway = ?", (gateway,)).fetchone()
        if last is not None and sequence <= last[0]:
            return
        self._load_totals(deltas)
        self._change(ledger.add(deltas.items(), self._totals))
        self._execute("REPLACE INTO gateways VALUES (?, ?, ?, ?)", (gateway, sequence, now, heartbeat))
        self._execute("DELETE FROM gateways WHERE seen < ?", (now - GATEWAY_KEPT_S,))

    def save(
        self,
        table: Literal["experiments", "backends", "deployments", "prices", "bills"],
        name: str,
        document: bytes,
        expected_revision: int,
        fence: int | None,
        entries: Sequence[Entry] = (),
    ) -> int:
        """Store a document in place of the revision its writer had read, and tell histories of it."""
        self._check_change(table, name, expected_revision, fence)
        self._execute(f"REPLACE INTO {table} VALUES (?, ?, ?)", (name, expected_revision + 1, document))  # noqa: S608 - ours
        for whose, entry in entries:
            self._tell(whose, entry)
        return expected_revision + 1

    def save_deployment(
        self, name: str, document: bytes, expected_revision: int, fence: int | None, entries: Sequence[Entry]
    ) -> int:
        """Store how far a deployment is, and drop those that nobody wrote for longest."""
        revision = self.save("deployments", name, document, expected_revision, fence, entries)
        self._execute(
            "DELETE FROM deployments WHERE rowid <= (SELECT rowid FROM deployments ORDER BY rowid DESC LIMIT 1 OFFSET ?)",
            (DEPLOYMENTS_KEPT,),
        )
        return revision

    def remove_experiment(self, name: str, expected_revision: int, fence: int | None, entries: Sequence[Entry]) -> None:
        """Forget a document and its snapshot."""
        self._check_change("experiments", name, expected_revision, fence)
        self._execute("DELETE FROM experiments WHERE name = ?", (name,))
        self._execute("DELETE FROM snapshots WHERE name = ?", (name,))
        for whose, entry in entries:
            self._tell(whose, entry)

    def _check_change(self, table: str, name: str, expected_revision: int, fence: int | None) -> None:
        if fence is not None:
            ledger.check_fence(fence, self._lease().epoch)
        found = self._execute(f"SELECT revision FROM {table} WHERE name = ?", (name,)).fetchone()  # noqa: S608 - ours
        ledger.check_revision(name, expected_revision, 0 if found is None else found[0])

    def append_history(self, name: str, entry: bytes, fence: int) -> None:
        """Add an entry to an experiment's history, and drop what is too old."""
        ledger.check_fence(fence, self._lease().epoch)
        self._tell(name, entry)

    def _tell(self, name: str, entry: bytes) -> None:
        newest = self._execute("SELECT coalesce(max(id), 0) FROM history WHERE name = ?", (name,)).fetchone()[0]
        self._execute("INSERT INTO history VALUES (?, ?, ?)", (name, newest + 1, entry))
        self._execute("DELETE FROM history WHERE name = ? AND id <= ?", (name, newest + 1 - HISTORY_KEPT))

    def publish(self, name: str, version: int, snapshot: bytes, fence: int) -> None:
        """Make a snapshot the experiment's current one."""
        ledger.check_fence(fence, self._lease().epoch)
        found = self._execute("SELECT version FROM snapshots WHERE name = ?", (name,)).fetchone()
        ledger.check_version(name, version, None if found is None else found[0])
        self._execute("REPLACE INTO snapshots VALUES (?, ?, ?)", (name, version, snapshot))

    def lease(self, owner: str, now: float, ttl_s: float) -> int | None:
        """Take or renew the lease on leading."""
        lease = ledger.take_lease(self._lease(), owner, now, ttl_s)
        if lease is None:
            return None
        self._execute("REPLACE INTO lease VALUES (1, ?, ?, ?)", (lease.holder, lease.epoch, lease.expires_at))
        return lease.epoch

    def release(self, owner: str) -> None:
        """Give the lease back."""
        self._execute("UPDATE lease SET holder = NULL, expires_at = 0 WHERE holder = ?", (owner,))

    def finish(self) -> None:
        """Write what the group added, and forget some of what has expired."""
        for chunk in _chunks(list(self._fresh.items())):
            self._execute(
                f"INSERT INTO counted VALUES {_places(4, len(chunk))}",  # noqa: S608 - places
                [part for (nonce, event), r in chunk for part in (nonce, event, float(r.value), r.expires_at)],
            )
        numbers = {epoch: self._next_change(epoch) for epoch in {cell.epoch for cell in self._changed}}
        for rows in _chunks(list(self._changed.items())):
            self._execute(
                f"REPLACE INTO sums ({_COLUMNS}, changed) VALUES {_places(4 + len(FIELDS), len(rows))}",  # noqa: S608 - ours
                [part for cell, row in rows for part in (*_stored(cell), *row, numbers[cell.epoch])],
            )
        if self._sweep.now is not None:
            self._forget(self._sweep.now, max(_SWEEP_MIN, _SWEEP_PER_REWARD * len(self._fresh)))

    def _next_change(self, epoch: int) -> int:
        return int(
            self._execute(
                "SELECT coalesce(max(changed), 0) + 1 FROM sums WHERE epoch = ?", (signed(epoch),)
            ).fetchone()[0]
        )

    def _forget(self, now: float, pairs: int) -> None:
        """Look at the next pairs in the order of their nonces, and delete those whose time is over.

        An index by expiry would cost each reward a second random page to write, and each deletion one more.
        """
        sweep = self._sweep
        last = self._execute(
            "SELECT nonce FROM counted WHERE nonce > ? ORDER BY nonce LIMIT 1 OFFSET ?", (sweep.after, pairs - 1)
        ).fetchone()
        if last is None:  # The end: go on from the start next time.
            self._execute("DELETE FROM counted WHERE nonce > ? AND expires_at <= ?", (sweep.after, now))
        else:
            self._execute(
                "DELETE FROM counted WHERE nonce > ? AND nonce <= ? AND expires_at <= ?", (sweep.after, last[0], now)
            )
        sweep.after = b"" if last is None else last[0]

    def _lease(self) -> ledger.Lease:
        return ledger.Lease(*self._execute("SELECT holder, epoch, expires_at FROM lease").fetchone())

    def _change(self, totals: ledger.Totals) -> None:
        self._totals.update(totals)
        self._changed.update(totals)

    def _load_totals(self, cells: Iterable[Cell]) -> None:
        missing = [cell for cell in cells if cell not in self._totals]
        for chunk in _chunks(missing):
            rows = self._execute(
                f"WITH key (p, a, b) AS (VALUES {_places(3, len(chunk))}) SELECT epoch, arm, block, {', '.join(FIELDS)} "  # noqa: S608 - places
                "FROM key CROSS JOIN sums ON epoch = p AND arm = a AND block = b",
                [part for cell in chunk for part in _stored(cell)],
            )
            self._totals.update({Cell(row[0] % 2**64, row[1], row[2]): list(row[3:]) for row in rows})


def signed(epoch: int) -> int:
    """Return a 64-bit epoch as SQLite can keep it: the same bits, signed."""
    return epoch - 2**64 if epoch >= 2**63 else epoch


def _stored(cell: Cell) -> tuple[int, int, int]:
    return signed(cell[0]), cell[1], cell[2]


def _places(columns: int, rows: int) -> str:
    return ", ".join(["(" + ", ".join("?" * columns) + ")"] * rows)


def _chunks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Cut rows into pieces whose lengths are powers of two, the largest _ROWS_PER_STATEMENT."""
    start = 0
    while start < len(rows):
        size = min(_ROWS_PER_STATEMENT, 1 << (len(rows) - start).bit_length() - 1)
        yield rows[start : start + size]
        start += size
