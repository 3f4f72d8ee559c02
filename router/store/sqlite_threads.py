"""What the two threads on an SQLite file do: one commits groups of calls, one reads on a connection of its own."""

import contextlib
import logging
import os
import sqlite3
from collections.abc import Sequence

from router.store import sqlite_file
from router.store.contract import StoreError, StoreUnavailable, StoreUnopenable
from router.store.lane import Job
from router.store.sqlite_writes import Sweep, Transaction

log = logging.getLogger(__name__)


class SqliteWriter:
    """The only writer of this process. Mutable: its connection and lock, and how far the sweep has come."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._sweep = Sweep()
        self._connection: sqlite3.Connection | None = None
        self._lock: sqlite_file.WriterLock | None = None
        self._identity = (0, 0)

    def open(self) -> None:
        """Make or check the file and open it."""
        sqlite_file.create(self._path)
        try:
            self._lock = sqlite_file.WriterLock(self._path)
            with self._lock.held():
                self._connection = sqlite_file.connect(self._path)
                sqlite_file.prepare(self._connection, self._path)
            self._identity = _identity(self._path)
        except OSError as error:
            raise StoreUnopenable(f"can't write beside {self._path} ({error.strerror}): check permissions") from None
        except sqlite3.Error as error:
            raise sqlite_file.named_at_open(error, self._path) from error

    def perform(self, group: Sequence[Job[Transaction, object]]) -> None:
        """Do the calls in one transaction. If one of them breaks it, do each in a transaction of its own."""
        try:
            self._commit(group)
        except StoreUnavailable as error:
            for job in group:  # One exception each: several callers raising the same one would share its traceback.
                job.outcome = type(error)(*error.args)
        except Exception as error:
            if len(group) > 1:
                for job in group:
                    self.perform([job])
            else:
                # Bulkhead: an unforeseen fault ends one call, not the writer.
                log.exception("a store call failed", extra={"path": self._path})
                group[0].outcome = StoreError(f"{self._path}: {error}")

    def close(self) -> None:
        """Close the file. As the last one out, SQLite moves its log into the file, which no other commit may meet."""
        if self._connection is not None and self._lock is not None:
            with contextlib.ExitStack() as held:
                try:
                    held.enter_context(self._lock.held())
                except StoreUnavailable:
                    log.warning("closing without the writer's lock", extra={"path": self._path})
                self._connection.close()
        if self._lock is not None:
            self._lock.close()
        self._connection = self._lock = None

    def _commit(self, group: Sequence[Job[Transaction, object]]) -> None:
        assert self._connection is not None  # noqa: S101 - the lane performs only after open
        assert self._lock is not None  # noqa: S101
        with self._lock.held():
            self._require_same_file()
            try:
                if self._connection.in_transaction:
                    # It could not be ended when it failed; without that no other could ever begin.
                    self._connection.execute("ROLLBACK")
                self._connection.execute("BEGIN IMMEDIATE")
                transaction = Transaction(self._connection, self._sweep)
                transaction.load([reward for job in group for reward in job.rewards])
                for job in group:
                    job.perform(transaction)
                transaction.finish()
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise sqlite_file.named(error, self._path) from error
            finally:
                if self._connection.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        self._connection.execute("ROLLBACK")

    def _require_same_file(self) -> None:
        """Refuse to acknowledge what would go into a file that was deleted or replaced under us."""
        if _identity(self._path) != self._identity:
            raise StoreUnavailable(f"{self._path} was removed or replaced while open: restart with the right file")


class SqliteReader:
    """Reads; commits of others neither wait for it nor hold it up. Mutable: its connection."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file that the writer has made."""
        try:
            self._connection = sqlite_file.connect(self._path)
            self._connection.execute("PRAGMA query_only = 1")
        except sqlite3.Error as error:
            raise sqlite_file.named_at_open(error, self._path) from error

    def perform(self, group: Sequence[Job[sqlite3.Connection, object]]) -> None:
        """Do the reads, one after the other."""
        assert self._connection is not None  # noqa: S101 - the lane performs only after open
        for job in group:
            try:
                job.perform(self._connection)
            except sqlite3.Error as error:
                job.outcome = sqlite_file.named(error, self._path)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _identity(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    return (status.st_dev, status.st_ino)
