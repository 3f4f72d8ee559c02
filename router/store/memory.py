"""The store in memory: for trying out and for tests. It is gone with its process, and shared by passing it around."""

import heapq
from collections import deque
from collections.abc import Sequence

from router.store import ledger
from router.store.contract import (
    DEPLOYMENTS_KEPT,
    FIELDS,
    GATEWAY_KEPT_S,
    HISTORY_KEPT,
    Cell,
    Changed,
    Deltas,
    Entry,
    Record,
    Reward,
    RewardResult,
    StoreUnavailable,
    check_cell,
    check_fields,
)

# Pairs forgotten per flush at most: 4 flushes a second then forget 16,384, faster than one process can count.
_FORGET_PER_FLUSH = 4096


class MemoryStore:
    """A Store for one process. No call waits, so each is one step for all its tasks."""

    def __init__(self) -> None:
        self._is_open = False
        self._totals: ledger.Totals = {}
        self._changed: dict[Cell, int] = {}  # the number of the last change
        self._changes = 0
        self._known: dict[ledger.Key, float] = {}
        self._expiries: list[tuple[int, ledger.Key]] = []  # a heap
        self._gateways: dict[str, tuple[int, float, bytes]] = {}  # sequence, seen, heartbeat
        self._experiments: dict[str, Record] = {}
        self._backends: dict[str, Record] = {}
        self._deployments: dict[str, Record] = {}  # the one written longest ago first
        self._prices: dict[str, Record] = {}
        self._bills: dict[str, Record] = {}
        self._history: dict[str, deque[tuple[int, bytes]]] = {}  # numbered from 1
        self._snapshots: dict[str, tuple[int, bytes]] = {}
        self._lease = ledger.Lease()

    async def open(self) -> None:
        """Take calls. What was stored before a close is still there."""
        self._is_open = True

    async def close(self) -> None:
        """Refuse calls from now on."""
        self._is_open = False

    async def flush(self, gateway: str, sequence: int, deltas: Deltas, heartbeat: bytes, now: float) -> None:
        """Add a gateway's counts once, and forget pairs and gateways whose time is over."""
        self._require_open()
        for cell, fields in deltas.items():
            check_cell(cell)
            check_fields(fields)
        last = self._gateways.get(gateway)
        if last is None or sequence > last[0]:
            self._change(ledger.add(deltas.items(), self._totals))
            self._gateways[gateway] = (sequence, now, bytes(heartbeat))
        self._forget(now)

    async def add_rewards(self, rewards: Sequence[Reward]) -> list[RewardResult]:
        """Count each reward whose (nonce, event) is new."""
        self._require_open()
        counted = ledger.count_rewards(rewards, self._known, self._totals)
        self._change(counted.totals)
        for key, reward in counted.fresh.items():
            self._known[key] = float(reward.value)
            heapq.heappush(self._expiries, (reward.expires_at, key))
        return counted.results

    async def sums(self, epoch: int) -> dict[tuple[int, int], dict[str, int]]:
        """Return the sums per (arm, block) of an epoch."""
        return (await self.sums_since(epoch, 0)).cells

    async def sums_since(self, epoch: int, stamp: int) -> Changed:
        """Return the sums of an epoch that have changed."""
        self._require_open()
        check_cell(Cell(epoch, 0, 0))
        cells = {
            (cell.arm, cell.block): dict(zip(FIELDS, row, strict=True))
            for cell, row in self._totals.items()
            if cell.epoch == epoch and self._changed[cell] >= stamp
        }
        return Changed(self._changes + 1, cells)

    def _change(self, totals: ledger.Totals) -> None:
        self._changes += 1
        self._totals.update(totals)
        self._changed.update(dict.fromkeys(totals, self._changes))

    async def heartbeats(self, now: float, max_age_s: float) -> dict[str, bytes]:
        """Return the last heartbeat of every gateway that flushed within `max_age_s`."""
        self._require_open()
        return {
            gateway: heartbeat for gateway, (_, seen, heartbeat) in self._gateways.items() if seen >= now - max_age_s
        }

    async def experiments(self) -> list[Record]:
        """Return all experiments, by name."""
        self._require_open()
        return [record for _, record in sorted(self._experiments.items())]

    async def save_experiment(
        self, name: str, document: bytes, expected_revision: int, fence: int | None, entries: Sequence[Entry] = ()
    ) -> int:
        """Store a document in place of the revision its writer had read, and tell histories of it."""
        self._check_change(name, expected_revision, fence)
        self._experiments[name] = Record(name, expected_revision + 1, bytes(document))
        self._tell(entries)
        return expected_revision + 1

    async def remove_experiment(
        self, name: str, expected_revision: int, fence: int | None, entries: Sequence[Entry] = ()
    ) -> None:
        """Forget a document and its snapshot."""
        self._check_change(name, expected_revision, fence)
        self._experiments.pop(name, None)
        self._snapshots.pop(name, None)
        self._tell(entries)

    def _check_change(self, name: str, expected_revision: int, fence: int | None) -> None:
        self._require_open()
        if fence is not None:
            ledger.check_fence(fence, self._lease.epoch)
        record = self._experiments.get(name)
        ledger.check_revision(name, expected_revision, 0 if record is None else record.revision)

    def _tell(self, entries: Sequence[Entry]) -> None:
        for whose, entry in entries:
            kept = self._history.setdefault(whose, deque(maxlen=HISTORY_KEPT))
            kept.append((kept[-1][0] + 1 if kept else 1, bytes(entry)))

    async def backends(self) -> list[Record]:
        """Return what managed backends are to serve."""
        self._require_open()
        return [record for _, record in sorted(self._backends.items())]

    async def save_backend(self, name: str, document: bytes, expected_revision: int, fence: int) -> int:
        """Store what a backend is to serve in place of the revision its writer had read."""
        return self._save(self._backends, Record(name, expected_revision + 1, bytes(document)), fence)

    async def deployments(self) -> list[Record]:
        """Return all deployments of versions."""
        self._require_open()
        return [record for _, record in sorted(self._deployments.items())]

    async def save_deployment(
        self, name: str, document: bytes, expected_revision: int, fence: int | None, entries: Sequence[Entry] = ()
    ) -> int:
        """Store how far a deployment is, and tell histories of it."""
        revision = self._save(self._deployments, Record(name, expected_revision + 1, bytes(document)), fence)
        self._deployments[name] = self._deployments.pop(name)
        if len(self._deployments) > DEPLOYMENTS_KEPT:
            del self._deployments[next(iter(self._deployments))]
        self._tell(entries)
        return revision

    async def prices(self) -> list[Record]:
        """Return what the leader holds of fed prices."""
        self._require_open()
        return [record for _, record in sorted(self._prices.items())]

    async def save_price(
        self, name: str, document: bytes, expected_revision: int, fence: int | None, entries: Sequence[Entry] = ()
    ) -> int:
        """Store what is held of a backend's price, and tell histories of it."""
        revision = self._save(self._prices, Record(name, expected_revision + 1, bytes(document)), fence)
        self._tell(entries)
        return revision

    async def bills(self) -> list[Record]:
        """Return what model servers have cost so far."""
        self._require_open()
        return [record for _, record in sorted(self._bills.items())]

    async def save_bill(self, name: str, document: bytes, expected_revision: int, fence: int) -> int:
        """Store what a backend has cost so far."""
        return self._save(self._bills, Record(name, expected_revision + 1, bytes(document)), fence)

    async def append_history(self, name: str, entry: bytes, fence: int) -> None:
        """Add an entry to an experiment's history."""
        self._require_open()
        ledger.check_fence(fence, self._lease.epoch)
        self._tell([Entry(name, entry)])

    async def history(self, name: str, limit: int) -> list[bytes]:
        """Return the last `limit` entries, the oldest of them first."""
        return (await self.page(name, limit, None))[0]

    async def page(self, name: str, limit: int, before: int | None) -> tuple[list[bytes], int | None]:
        """Return the last `limit` entries before a number."""
        self._require_open()
        kept = [one for one in self._history.get(name, ()) if before is None or one[0] < before]
        return ledger.page(kept[max(0, len(kept) - max(0, limit) - 1) :], limit)

    async def publish(self, name: str, version: int, snapshot: bytes, fence: int) -> None:
        """Make a snapshot the experiment's current one."""
        self._require_open()
        ledger.check_fence(fence, self._lease.epoch)
        ledger.check_version(name, version, self._snapshots.get(name, (None, b""))[0])
        self._snapshots[name] = (version, bytes(snapshot))

    async def snapshots(self) -> dict[str, tuple[int, bytes]]:
        """Return the current snapshot of every experiment."""
        self._require_open()
        return dict(self._snapshots)

    async def lease(self, owner: str, now: float, ttl_s: float) -> int | None:
        """Take or renew the lease on leading."""
        self._require_open()
        lease = ledger.take_lease(self._lease, owner, now, ttl_s)
        if lease is None:
            return None
        self._lease = lease
        return lease.epoch

    async def release(self, owner: str) -> None:
        """Give the lease back."""
        self._require_open()
        if self._lease.holder == owner:
            self._lease = ledger.Lease(epoch=self._lease.epoch)

    def _save(self, records: dict[str, Record], new: Record, fence: int | None) -> int:
        self._require_open()
        if fence is not None:
            ledger.check_fence(fence, self._lease.epoch)
        known = records.get(new.name)
        ledger.check_revision(new.name, new.revision - 1, 0 if known is None else known.revision)
        records[new.name] = new
        return new.revision

    def _require_open(self) -> None:
        if not self._is_open:
            raise StoreUnavailable("the memory store is not open")

    def _forget(self, now: float) -> None:
        for _ in range(_FORGET_PER_FLUSH):
            if not self._expiries or self._expiries[0][0] > now:
                break
            del self._known[heapq.heappop(self._expiries)[1]]
        silent = [gateway for gateway, (_, seen, _) in self._gateways.items() if seen < now - GATEWAY_KEPT_S]
        for gateway in silent:
            del self._gateways[gateway]
