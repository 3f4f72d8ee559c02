"""What a store promises: the values it keeps, the errors it raises, and the Protocol that every store answers to.

A store holds additive integers (counts, rewards, costs) per cell, remembers which rewards were counted, and keeps the few
documents that gateways share. It never computes with what it holds: whatever can't be merged by adding is a document.
"""

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from router.store.fields import FIELDS as FIELDS

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

CALL_TIMEOUT_S = 5.0
"""The longest a call on any store may take. A reward's client is told to come again long before its own 30 s are over,
and a disk that syncs in 5 s is as good as away."""

HISTORY_KEPT = 10_000
"""Entries of history kept per experiment; older ones are dropped. At one change a minute this is a week of nothing else."""

DEPLOYMENTS_KEPT = 1_000
"""Deployments kept; those written longest ago are dropped. Nobody deploys a thousand versions before one has ended."""

GATEWAY_KEPT_S = 7 * 86_400.0
"""How long a gateway that went silent is remembered. No gateway retries a flush for a week."""


class StoreError(Exception):
    """Anything a store refuses or can't do; its text names the store and what would help."""


class StoreUnavailable(StoreError):
    """The store can't do it now: full queue, full disk, locked, closed, too slow. What was asked may or may not be done.

    Every call may be repeated: flushes and rewards are counted once however often they are sent.
    """


class StoreReset(StoreUnavailable):
    """The store is not the one that was known: it came back empty, older, or as another. Nobody goes on in silence."""


class StoreCorrupt(StoreUnavailable):
    """What the store holds can't be read: a file that is damaged, or is no database."""


class StoreUnopenable(StoreError):
    """The store can't be opened as it is configured: the folder, the permissions, or a file of another program."""


class SchemaTooNew(StoreUnopenable):
    """A later version of Turpin wrote this store; nothing in it was changed."""


class Fenced(StoreError):
    """The writer no longer holds the lease: somebody else leads, and its write was refused."""


class RevisionConflict(StoreError):
    """The document is not at the revision that the writer had read."""


class CounterOverflow(StoreError):
    """A sum would leave the 64-bit integers; nothing of the call was added."""


class Cell(NamedTuple):
    """Where integers are summed: one arm in one block of time of one experiment's epoch (a random 64-bit id)."""

    epoch: int
    arm: int
    block: int


Fields = Mapping[str, int]
"""What to add to a cell, by the names in FIELDS. A name left out adds nothing."""

Deltas = Mapping[Cell, Fields]


class RewardResult(enum.Enum):
    """What became of one reward."""

    RECORDED = "recorded"  # counted, for the first time
    DUPLICATE = "duplicate"  # the same decision, event and value were counted before
    CONFLICT = "conflict"  # this decision and event were counted with another value; that one stays


def check_cell(cell: Cell) -> None:
    """Raise ValueError unless the epoch is an unsigned, arm and block are signed, 64-bit integers."""
    epoch, arm, block = cell
    if not 0 <= epoch < 2**64:
        raise ValueError(f"the epoch of a cell must be in 0..2^64-1, got {epoch}")
    if not (0 <= arm <= INT64_MAX and INT64_MIN <= block <= INT64_MAX):
        raise ValueError(f"arm and block of a cell must be 64-bit integers, the arm from 0, got {arm} and {block}")


def check_fields(fields: Fields) -> None:
    """Raise ValueError unless every name is in FIELDS and every number is a 64-bit integer (bool is none)."""
    for name, number in fields.items():
        if name not in _KNOWN:
            raise ValueError(f"unknown field {name!r}, the fields are {', '.join(FIELDS)}")
        if type(number) is not int or not INT64_MIN <= number <= INT64_MAX:
            raise ValueError(f"{name} must be a 64-bit integer, got {number!r}")


_KNOWN = frozenset(FIELDS)

# A nonce is 16 random (or keyed-hash) bytes: design §4. Two decisions of 2^64 share one with probability 1/2.
_NONCE_BYTES = 16


@dataclass(frozen=True, slots=True)
class Reward:
    """One reward for one decision: counted once per (nonce, event)."""

    cell: Cell
    nonce: bytes
    event: str
    value: float  # as it was sent: the same pair with another value is a conflict
    fields: Fields  # what to add to the cell, when the reward is new
    expires_at: (
        int  # unix seconds; from then on the store may forget the pair, so later rewards are the caller's to refuse
    )

    def __post_init__(self) -> None:
        if len(self.nonce) != _NONCE_BYTES:
            raise ValueError(f"a nonce has {_NONCE_BYTES} bytes, got {len(self.nonce)}")
        if not math.isfinite(self.value):
            raise ValueError(f"a reward must be a finite number, got {self.value}")
        if not INT64_MIN <= self.expires_at <= INT64_MAX:
            raise ValueError(f"expires_at must be a 64-bit integer, got {self.expires_at}")
        self.event.encode()  # Raises UnicodeEncodeError, a ValueError, on lone surrogates: no store can keep those.
        check_cell(self.cell)
        check_fields(self.fields)


@dataclass(frozen=True, slots=True)
class Record:
    """One experiment, backend, deployment, price or bill as it is stored; `revision` counts its changes from 1."""

    name: str
    revision: int
    document: bytes


class Entry(NamedTuple):
    """A line of history to be added with a change: whose history, and what it says."""

    name: str
    entry: bytes


class Changed(NamedTuple):
    """Sums per (arm, block) that have changed, all fields of each, and the stamp to ask with for later changes."""

    stamp: int
    cells: dict[tuple[int, int], dict[str, int]]


class Store(Protocol):
    """The state that gateways share. Every call ends within CALL_TIMEOUT_S, with a StoreError if need be.

    Writes are durable when they return, at the store's level. A read need not see what was written a moment before.
    """

    async def open(self) -> None:
        """Connect, and create what is missing. Raises StoreUnopenable, StoreCorrupt or StoreUnavailable."""

    async def close(self) -> None:
        """Finish what was begun and let go. Calls that come later raise StoreUnavailable."""

    async def flush(self, gateway: str, sequence: int, deltas: Deltas, heartbeat: bytes, now: float) -> None:
        """Add a gateway's counts to the cells and renew its heartbeat.

        A `sequence` not above the last one of this gateway changes nothing, so a flush may be repeated. `gateway` must
        be new at every start of a process, as its sequence starts again. Raises CounterOverflow, then nothing is added.
        """

    async def add_rewards(self, rewards: Sequence[Reward]) -> list[RewardResult]:
        """Count each reward whose (nonce, event) is new, and say what became of each, in order.

        Remembering and adding are one step: either both last or neither. Raises CounterOverflow, then nothing is added.
        """

    async def sums(self, epoch: int) -> dict[tuple[int, int], dict[str, int]]:
        """Return the sums per (arm, block) of an epoch: all of FIELDS for every cell that anything was added to."""

    async def sums_since(self, epoch: int, stamp: int) -> Changed:
        """Return those sums of an epoch that may have changed since the read that gave `stamp`; with 0 all of them."""

    async def heartbeats(self, now: float, max_age_s: float) -> dict[str, bytes]:
        """Return the last heartbeat of every gateway that flushed within `max_age_s`."""

    async def experiments(self) -> list[Record]:
        """Return all experiments, by name."""

    async def save_experiment(
        self, name: str, document: bytes, expected_revision: int, fence: int | None, entries: Sequence[Entry] = ()
    ) -> int:
        """Store a document in place of revision `expected_revision` (0: there is none yet), add `entries` to their
        histories, and return the new revision.

        `fence` None: not as the leader. A person's change may come through any gateway, and is guarded by the revision
        alone. Raises RevisionConflict or Fenced, then nothing changes.
        """

    async def remove_experiment(
        self, name: str, expected_revision: int, fence: int | None, entries: Sequence[Entry] = ()
    ) -> None:
        """Forget an experiment's document and snapshot; its history and its sums stay.

        Raises RevisionConflict or Fenced, then nothing changes.
        """

    async def backends(self) -> list[Record]:
        """Return what managed backends are to serve, by name of the backend."""

    async def save_backend(self, name: str, document: bytes, expected_revision: int, fence: int) -> int:
        """Store what a backend is to serve; as `save_experiment` does an experiment."""

    async def deployments(self) -> list[Record]:
        """Return all deployments of versions, by name; those that ended long ago are forgotten."""

    async def save_deployment(
        self, name: str, document: bytes, expected_revision: int, fence: int | None, entries: Sequence[Entry] = ()
    ) -> int:
        """Store how far a deployment is; as `save_experiment` does an experiment. At most DEPLOYMENTS_KEPT are kept."""

    async def prices(self) -> list[Record]:
        """Return what the leader holds of the prices that come from feeds, by name of the backend."""

    async def save_price(
        self, name: str, document: bytes, expected_revision: int, fence: int | None, entries: Sequence[Entry] = ()
    ) -> int:
        """Store what is held of a backend's price; as `save_experiment` does an experiment."""

    async def bills(self) -> list[Record]:
        """Return what model servers have cost so far, by name of the backend."""

    async def save_bill(self, name: str, document: bytes, expected_revision: int, fence: int) -> int:
        """Store what a backend has cost so far; as `save_experiment` does an experiment."""

    async def append_history(self, name: str, entry: bytes, fence: int) -> None:
        """Add an entry to an experiment's history, which keeps the last HISTORY_KEPT. Raises Fenced."""

    async def history(self, name: str, limit: int) -> list[bytes]:
        """Return the last `limit` entries of an experiment's history, the oldest of them first."""

    async def page(self, name: str, limit: int, before: int | None) -> tuple[list[bytes], int | None]:
        """Return the last `limit` entries before the one numbered `before` (None: of all), the oldest of them first,
        and the `before` of the page before them (None: there is none)."""

    async def publish(self, name: str, version: int, snapshot: bytes, fence: int) -> None:
        """Make a snapshot the experiment's current one. Raises Fenced, or RevisionConflict if a later version is out."""

    async def snapshots(self) -> dict[str, tuple[int, bytes]]:
        """Return the current snapshot of every experiment, as (version, snapshot)."""

    async def lease(self, owner: str, now: float, ttl_s: float) -> int | None:
        """Take or renew the lease on leading, and return its epoch; None while another owner's lease runs.

        `now` and those of `flush` and `heartbeats` are times of the machine's clock; a store that machines share goes by
        its server's instead. All owners are to ask for the same `ttl_s`. The epoch grows whenever the holder changes. An owner whose lease ran out, and whom nobody followed,
        goes on in its epoch: nobody can have written in between. After `release` even the same owner gets a new one.
        """

    async def release(self, owner: str) -> None:
        """Give the lease back, if `owner` holds it; otherwise nothing happens."""
