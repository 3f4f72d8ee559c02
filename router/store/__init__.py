"""The state that gateways share, behind one Protocol: in memory, or in an SQLite file."""

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
    "StoreUnavailable",
    "StoreUnopenable",
    "open_store",
]


def open_store(url: str) -> Store:
    """Return the store that a URL names, not yet opened; `open` connects it. Raises ValueError for any other URL.

    `memory:` is a new and empty store at every call: whoever shares it passes the object on.
    `sqlite:///PATH` is a file, with an absolute path.
    """
    scheme, _, rest = url.partition(":")
    if url == "memory:":
        return MemoryStore()
    if scheme == "sqlite" and rest.startswith("///") and rest.strip("/"):
        return SqliteStore("/" + rest.lstrip("/"))
    # Only the scheme is shown: the rest of a store's address may hold a password.
    raise ValueError(f"a store is memory: or sqlite:///ABSOLUTE/PATH, got {scheme}:…")
