"""Stores that fail at chosen calls, before anything was done or when only the answer is lost; and callers that go on.

A fault-point loop plays the same story again and again; each time another call fails, until the story is over before one
does. Three places can fail: the store's own calls, an SQLite statement, a command on its way to Redis.
"""

import itertools
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from redis import exceptions as redis_errors

from router.store import Store, StoreUnavailable
from router.store.lane import Lane
from router.store.redis_store import RedisStore
from router.store.sqlite import SqliteStore
from router.store.sqlite_threads import SqliteWriter

Result = TypeVar("Result")


@dataclass(slots=True)
class Fault:
    """Strikes at call number `at`, counted from 1, and the `times - 1` that follow it. Mutable: the calls so far."""

    at: int
    is_after: bool
    times: int = 1
    calls: int = 0

    def strikes(self) -> bool:
        """Count a call; say whether it fails."""
        self.calls += 1
        return self.at <= self.calls < self.at + self.times

    @property
    def has_struck(self) -> bool:
        """Whether the story was long enough for it."""
        return self.calls >= self.at


def faults(*, times: tuple[int, ...] = (1,)) -> Iterator[Fault]:
    """Every fault of a story: go on until one has not struck, of each kind."""
    for is_after, count in itertools.product((False, True), times):
        for at in itertools.count(1):
            fault = Fault(at, is_after, count)
            yield fault
            if not fault.has_struck:
                break


class FaultyStore:
    """A Store whose calls fail as `fault` says. Mutable: the fault."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.fault: Fault | None = None

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **named: Any) -> Any:
            fault = self.fault
            is_struck = fault is not None and fault.strikes()
            if is_struck and fault is not None and not fault.is_after:
                raise StoreUnavailable("not done")
            result = await getattr(self.store, name)(*args, **named)
            if is_struck:
                raise StoreUnavailable("done, and nobody was told")
            return result

        return call


class _FaultyConnection:
    """An SQLite connection whose statements fail. Mutable: the fault."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.fault: Fault | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, *args: Any) -> sqlite3.Cursor:
        fault = self.fault
        is_struck = fault is not None and fault.strikes()
        if is_struck and fault is not None and not fault.is_after:
            raise _disk_error()
        cursor = self._connection.execute(*args)
        if is_struck:
            raise _disk_error()
        return cursor


class _FaultyWriter(SqliteWriter):
    """The writer of an SQLite file on such a connection. Mutable: `faulty`, once it is open."""

    def open(self) -> None:
        super().open()
        assert self._connection is not None
        self.faulty = _FaultyConnection(self._connection)
        self._connection = cast("sqlite3.Connection", self.faulty)


def _disk_error() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    return error


class FaultySqlite:
    """An SQLite store whose writer's statements fail as `fault` says."""

    def __init__(self, path: str) -> None:
        self.store = SqliteStore(path)
        self._worker = _FaultyWriter(path)
        self.store._writer = Lane(f"the writer of {path}", self._worker)

    def strike(self, fault: Fault | None) -> None:
        """Fail so from now on."""
        self._worker.faulty.fault = fault


class _FaultyClient:
    """A client of redis-py whose commands are lost, or their answers. Mutable: the fault."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.fault: Fault | None = None

    def __getattr__(self, name: str) -> Any:
        if name not in ("evalsha", "eval", "execute_command"):
            return getattr(self._client, name)

        async def command(*args: Any) -> Any:
            fault = self.fault
            is_struck = fault is not None and fault.strikes()
            if is_struck and fault is not None and not fault.is_after:
                raise redis_errors.ConnectionError("cut before it was sent")
            answer = await getattr(self._client, name)(*args)
            if is_struck:
                raise redis_errors.TimeoutError("cut before the answer")
            return answer

        return command


class FaultyRedis:
    """A Redis store, opened, whose commands fail as `fault` says."""

    def __init__(self, store: RedisStore) -> None:
        self.store = store
        link = store._link
        clients = {way: _FaultyClient(client) for way, client in link._clients.items()}
        self._clients = list(clients.values())
        link._clients = cast("Any", clients)

    def strike(self, fault: Fault | None) -> None:
        """Fail so from now on; all clients count together."""
        for client in self._clients:
            client.fault = fault


async def again(call: Callable[[], Awaitable[Result]]) -> Result:
    """Do what callers of a store do: repeat a call until it is answered."""
    while True:
        try:
            return await call()
        except StoreUnavailable:
            continue
