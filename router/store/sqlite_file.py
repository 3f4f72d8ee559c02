"""The SQLite file: how it is made, opened, locked and checked, and what its errors are called."""

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from urllib.parse import quote

from router.store.contract import (
    FIELDS,
    SchemaTooNew,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
    StoreUnopenable,
)

# "TURP" in ASCII: tells our files from those of other programs, as `file` does too.
_APPLICATION_ID = 0x54555250
# 2 and 7: more fields in sums. 3: backends. 4: deployments. 5: prices. 6: when sums changed. 8: bills.
SCHEMA_VERSION = 8
# STRICT tables came with 3.37; without them SQLite would turn an overflowing integer into a float in silence.
_SQLITE_MIN = (3, 37, 0)
# Below CALL_TIMEOUT_S, so that a caller learns of the lock and not only that time ran out.
LOCK_TIMEOUT_S = 2.0
# A writer holds the lock for the milliseconds of one commit; waiting by doubling pauses, as SQLite does, would starve.
_LOCK_POLL_S = 0.001

_NO_ACCESS = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)

# The tables of documents that came after the first version.
_DOCUMENTS = " ".join(
    f"CREATE TABLE IF NOT EXISTS {table} (name TEXT PRIMARY KEY, revision INTEGER NOT NULL, document BLOB NOT NULL) STRICT;"
    for table in ("backends", "deployments", "prices", "bills")
)

# By `changed` a reader finds what is new: it counts the writes of an epoch's sums.
_CHANGED = "CREATE INDEX sums_changed ON sums (epoch, changed);"

_SCHEMA = f"""
CREATE TABLE sums (epoch INTEGER NOT NULL, arm INTEGER NOT NULL, block INTEGER NOT NULL,
    {", ".join(f"{field} INTEGER NOT NULL" for field in FIELDS)}, changed INTEGER NOT NULL,
    PRIMARY KEY (epoch, arm, block)) STRICT, WITHOUT ROWID;
{_CHANGED}
CREATE TABLE counted (nonce BLOB NOT NULL, event TEXT NOT NULL, value REAL NOT NULL, expires_at INTEGER NOT NULL,
    PRIMARY KEY (nonce, event)) STRICT, WITHOUT ROWID;
CREATE TABLE gateways (gateway TEXT PRIMARY KEY, sequence INTEGER NOT NULL, seen REAL NOT NULL,
    heartbeat BLOB NOT NULL) STRICT;
CREATE TABLE experiments (name TEXT PRIMARY KEY, revision INTEGER NOT NULL, document BLOB NOT NULL) STRICT;
{_DOCUMENTS}
CREATE TABLE history (name TEXT NOT NULL, id INTEGER NOT NULL, entry BLOB NOT NULL,
    PRIMARY KEY (name, id)) STRICT, WITHOUT ROWID;
CREATE TABLE snapshots (name TEXT PRIMARY KEY, version INTEGER NOT NULL, snapshot BLOB NOT NULL) STRICT;
CREATE TABLE lease (id INTEGER PRIMARY KEY CHECK (id = 1), holder TEXT, epoch INTEGER NOT NULL,
    expires_at REAL NOT NULL) STRICT;
INSERT INTO lease VALUES (1, NULL, 0, 0);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""  # noqa: S608 - our own names


class WriterLock:
    """One writer at a time among all processes on the file: a lock on a file beside it, freed by the kernel on a crash.

    SQLite's own locks would do for transactions, but not for checkpoints. Up to 3.51.2 a checkpoint that runs while
    another process commits can lose that commit (sqlite.org/wal.html, "The WAL-Reset Bug"). Here all commits, and the
    checkpoints that SQLite runs after them, happen under this lock, so the two never meet.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = os.open(path + "-writer", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; raises StoreUnavailable if it is not to be had within LOCK_TIMEOUT_S."""
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise _locked(self._path) from None
                time.sleep(_LOCK_POLL_S)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


def create(path: str) -> None:
    """Make the file (mode 0600: it holds what customers do) and its folder unless they exist. Raises StoreUnopenable."""
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        # O_EXCL: to open and close a file that is there would drop the locks SQLite holds on it in this process.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreUnopenable(
            f"can't create {path} ({error.strerror}: {error.filename}): let this user write to its folder, "
            "or name another in `store`"
        ) from None
    if not os.path.isfile(path):
        raise StoreUnopenable(f"{path} is not a file: `store` must name the database file itself")


def connect(path: str) -> sqlite3.Connection:
    """Return a connection with our settings, for the thread that calls. Raises sqlite3.Error."""
    connection = sqlite3.connect(
        f"file:{quote(path)}?mode=rw", uri=True, isolation_level=None, timeout=LOCK_TIMEOUT_S, cached_statements=256
    )
    # FULL: the log is on disk when a commit returns, which is what an acknowledgement means here.
    connection.execute("PRAGMA synchronous = FULL")
    # 16 MiB of pages: a process of ours is to stay under 120 MB, and the system caches the file too.
    connection.execute("PRAGMA cache_size = -16384")
    # 4,000 pages, 16 MiB: rewards land on random pages, and those met again before the checkpoint are written once.
    connection.execute("PRAGMA wal_autocheckpoint = 4000")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    return connection


def prepare(connection: sqlite3.Connection, path: str) -> None:
    """Check whose file it is and which version, make the tables of a new one, bring an older one up to date; under the
    writer's lock.

    Raises StoreUnopenable or SchemaTooNew before anything is changed.
    """
    if sqlite3.sqlite_version_info < _SQLITE_MIN:
        raise StoreUnopenable(f"SQLite {sqlite3.sqlite_version} is too old for {path}: 3.37 or later is needed")
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application != _APPLICATION_ID and (application, version, tables) != (0, 0, 0):
        raise StoreUnopenable(f"{path} is the database of another program: name another file in `store`")
    if version > SCHEMA_VERSION:
        raise SchemaTooNew(
            f"{path} has schema {version}, this version of Turpin knows up to {SCHEMA_VERSION}: install the version "
            "that wrote it, or name another file in `store`; nothing was changed"
        )
    connection.execute("PRAGMA journal_mode = WAL")
    if version == 0:
        connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
    elif version < SCHEMA_VERSION:
        connection.executescript(f"BEGIN IMMEDIATE; {_migration(connection)} COMMIT;")


def _migration(connection: sqlite3.Connection) -> str:
    """Return what brings an older file up to date: the columns and tables it lacks."""
    there = {row[1] for row in connection.execute("PRAGMA table_info(sums)")}
    missing = [name for name in (*FIELDS, "changed") if name not in there]
    columns = [f"ALTER TABLE sums ADD COLUMN {name} INTEGER NOT NULL DEFAULT 0;" for name in missing]
    index = _CHANGED if "changed" in missing else ""
    return " ".join((*columns, index, _DOCUMENTS, f"PRAGMA user_version = {SCHEMA_VERSION};"))


def named(error: sqlite3.Error, path: str) -> StoreError:
    """Return the error of ours that says what an SQLite error means for this file, and what would help."""
    code = _primary_code(error)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return _locked(path)
    if code == sqlite3.SQLITE_FULL:
        return StoreUnavailable(f"the disk that holds {path} is full: free some space; nothing was written")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreCorrupt(f"{path} is damaged or no database ({error}): restore a backup, or move it away")
    if code in (sqlite3.SQLITE_IOERR, *_NO_ACCESS):
        return StoreUnavailable(f"{path} can't be read or written ({error}): check the disk and the permissions")
    return StoreError(f"{path}: {error}")


def named_at_open(error: sqlite3.Error, path: str) -> StoreError:
    """Return what an error means when it comes while opening: without access there is no use in trying again."""
    if _primary_code(error) in _NO_ACCESS:
        return StoreUnopenable(f"can't open {path} ({error}): let this user read and write it and its folder")
    return named(error, path)


def _primary_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF  # The bytes above tell kinds of one code apart.


def _locked(path: str) -> StoreUnavailable:
    return StoreUnavailable(f"{path} was locked by another process for over {LOCK_TIMEOUT_S} s: is it being copied?")
