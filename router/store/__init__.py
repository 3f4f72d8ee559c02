"""The state that gateways share, behind one Protocol: in memory, in an SQLite file, or in Redis."""

from collections.abc import Callable
from pathlib import Path

from router.clock import unix_now as clock
from router.store.contract import (
    CALL_TIMEOUT_S,
    FIELDS,
    Cell,
    Changed,
    CounterOverflow,
    Deltas,
    Entry,
    Fenced,
    Fields,
    Record,
    RevisionConflict,
    Reward,
    RewardResult,
    SchemaTooNew,
    Store,
    StoreCorrupt,
    StoreError,
    StoreReset,
    StoreUnavailable,
    StoreUnopenable,
)
from router.store.memory import MemoryStore
from router.store.sqlite import SqliteStore

__all__ = [
    "CALL_TIMEOUT_S",
    "FIELDS",
    "Cell",
    "Changed",
    "CounterOverflow",
    "Deltas",
    "Entry",
    "Fenced",
    "Fields",
    "Record",
    "RevisionConflict",
    "Reward",
    "RewardResult",
    "SchemaTooNew",
    "Store",
    "StoreCorrupt",
    "StoreError",
    "StoreReset",
    "StoreUnavailable",
    "StoreUnopenable",
    "open_store",
]


def open_store(
    url: str,
    *,
    durability: str | None = None,
    memory: Path | None = None,
    unix_now: Callable[[], float] = clock,
) -> Store:
    """Return the store that a URL names, not yet opened; `open` connects it. Raises ValueError for any other URL.

    `memory:` is a new and empty store at every call: whoever shares it passes the object on.
    `sqlite:///PATH` is a file, with an absolute path. `redis://…` and its kin are in redis_url.py.
    `durability` of a Redis is looked at unless it is None: what it loses is said, and "strict" refuses to lose anything.
    `memory` is the folder where it is remembered which Redis is known, so that another one is noticed after a restart.
    """
    scheme, _, rest = url.partition(":")
    if url == "memory:":
        return MemoryStore()
    if scheme == "sqlite" and rest.startswith("///") and rest.strip("/"):
        return SqliteStore("/" + rest.lstrip("/"))
    if scheme.startswith("redis"):
        # 9 MB that only those load who use it.
        from router.store.redis_store import RedisStore

        return RedisStore(url, durability=durability, memory=memory, unix_now=unix_now)
    # Only the scheme is shown: the rest of a store's address may hold a password.
    raise ValueError(f"a store is memory:, sqlite:///ABSOLUTE/PATH or redis://…, got {scheme}:…")
