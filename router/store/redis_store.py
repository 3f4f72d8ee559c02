"""The store in Redis: for gateways on many machines. One server, a master behind Sentinels, or a Cluster.

Everything that must be one step is one script (redis_scripts.py). Sums and counted pairs of an epoch share a hash tag;
documents, histories, snapshots and the lease, which the fence guards, share another.

What Redis acknowledges is as durable as it is set up to be (redis_server.py). Replication is asynchronous: a failover
loses what had not reached the replica, also what was acknowledged.
"""

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from router.clock import unix_now as clock
from router.store import ledger
from router.store.contract import (
    GATEWAY_KEPT_S,
    Cell,
    Changed,
    Deltas,
    Entry,
    Record,
    Reward,
    RewardResult,
    SchemaTooNew,
    StoreError,
    StoreUnavailable,
    StoreUnopenable,
    check_cell,
    check_fields,
)
from router.store.redis_documents import (
    BASE_KEY,
    HEARTBEATS_KEY,
    LEASE_KEY,
    PAUSES_KEY,
    SEEN_KEY,
    SEQUENCES_KEY,
    SNAPSHOTS_KEY,
    STORE_KEY,
    TOLD_KEY,
    RedisDocuments,
    beat_of,
    check_fence,
    history_key,
    pauses_of,
)
from router.store.redis_guard import Guard
from router.store.redis_lineage import Lineage
from router.store.redis_link import RedisLink
from router.store.redis_memory import StoreMemory
from router.store.redis_rewards import RedisSums
from router.store.redis_scripts import (
    ACCEPT,
    HEARTBEAT,
    HEARTBEATS,
    LAST_SEQUENCE,
    LEASE,
    OPEN,
    PAGE,
    PUBLISH,
    RELEASE,
)
from router.store.redis_server import Durability, judge
from router.store.redis_url import read_address

SCHEMA_VERSION: Final = 1


class RedisStore:
    """A Store in Redis. Mutable: the link, the lineage, the time it was last told, and whether a lease is to be given
    back because the store was changed under it."""

    def __init__(
        self,
        url: str,
        *,
        durability: str | None = None,
        memory: Path | None = None,
        unix_now: Callable[[], float] = clock,
    ) -> None:
        """`durability`: say how durable the server is; "strict": refuse one that is not. `memory`: the folder where it is
        remembered which store is known; None: nowhere. ValueError for a bad address."""
        address = read_address(url)
        self._lineage = Lineage(address.shown)
        self._link = RedisLink(address, Guard(self._lineage).greet)
        self._sums = RedisSums(self._link, self._lineage)
        self._beside = RedisDocuments(self._link, self._lineage, self._sums)
        self._durability = durability
        self._unix_now = unix_now
        self._told_now = 0.0
        self._changes_led = 0
        self._memory = None if memory is None else StoreMemory(memory, self._link.shown)

    async def open(self) -> None:
        """Connect, make what is missing, and say how durable the server is."""
        remembered = None if self._memory is None else await self._memory.recall()
        made = secrets.token_hex(8) if remembered is None else ""
        await self._link.open()
        try:
            _, generation, schema, accepted, *rest = await self._link.run(
                OPEN, [STORE_KEY, PAUSES_KEY], [made, str(SCHEMA_VERSION)]
            )
            if int(schema) > SCHEMA_VERSION:
                raise SchemaTooNew(
                    f"{self._link.shown} has schema {int(schema)}, this version of Turpin knows up to "
                    f"{SCHEMA_VERSION}: install the version that wrote it; nothing was changed"
                )
            beat, pauses = beat_of(rest[:3]), pauses_of(rest[3:])
            is_accepted = accepted == b"1"
            self._lineage.begin(generation.decode(), beat, pauses, is_accepted=is_accepted, remembered=remembered)
            if self._durability is not None:
                await self._check_durability()
            if self._memory is not None:
                await self._memory.follow(self._lineage)
        except BaseException:
            await self._link.close()
            raise

    async def close(self) -> None:
        """Let go of all connections."""
        if self._memory is not None:
            await self._memory.keep()
        await self._link.close()

    async def accept(self) -> None:
        """Have all gateways go on with this store as it is, although it is not the one they knew."""
        await self._link.run(ACCEPT, [STORE_KEY], [secrets.token_hex(8), str(SCHEMA_VERSION)])

    async def _check_durability(self) -> None:
        try:
            sections = [await self._link.info(name) for name in ("server", "persistence", "memory")]
        except StoreUnopenable:
            sections = [[{}]] * 3
        try:
            answer = await self._link.read("CONFIG", "GET", "appendfsync")
            fsync = answer[1].decode() if answer else None
        except StoreUnavailable:
            raise
        except StoreError:
            # Some providers keep CONFIG to themselves, and each refuses it in words of its own.
            fsync = None
        servers = [Durability.of({**one, **two, **three}, fsync) for one, two, three in zip(*sections, strict=True)]
        judge(self._link.shown, servers, is_strict=self._durability == "strict")

    async def flush(self, gateway: str, sequence: int, deltas: Deltas, heartbeat: bytes, now: float) -> None:
        """Add a gateway's counts once, one step for each epoch, and renew its heartbeat when all are added."""
        for cell, fields in deltas.items():
            check_cell(cell)
            check_fields(fields)
        self._told_now = max(self._told_now, now)
        await self._beside.surely(lambda: self._flush(gateway, sequence, deltas, heartbeat, now))

    async def _flush(self, gateway: str, sequence: int, deltas: Deltas, heartbeat: bytes, now: float) -> None:
        if deltas:
            last = (await self._beside.run(LAST_SEQUENCE, [SEQUENCES_KEY], [gateway], is_beat=True))[1]
            if last and sequence <= int(last):
                return
            await self._sums.flush(gateway, sequence, deltas, now)
        await self._beside.beat(
            HEARTBEAT,
            [SEQUENCES_KEY, SEEN_KEY, HEARTBEATS_KEY],
            [gateway, str(sequence), bytes(heartbeat), repr(GATEWAY_KEPT_S)],
        )

    async def add_rewards(self, rewards: Sequence[Reward]) -> list[RewardResult]:
        """Count each reward whose (nonce, event) is new, one step for each epoch and thousand."""
        now = max(self._told_now, self._unix_now())
        return await self._beside.surely(lambda: self._sums.add_rewards(rewards, now))

    async def sums(self, epoch: int) -> dict[tuple[int, int], dict[str, int]]:
        """Return the sums per (arm, block) of an epoch."""
        return (await self.sums_since(epoch, 0)).cells

    async def sums_since(self, epoch: int, stamp: int) -> Changed:
        """Return the sums of an epoch that have changed."""
        check_cell(Cell(epoch, 0, 0))
        return await self._sums.since(epoch, stamp)

    async def heartbeats(self, now: float, max_age_s: float) -> dict[str, bytes]:
        """Return the last heartbeat of every gateway that flushed within `max_age_s`, by the server's clock."""
        answer = await self._beside.run(HEARTBEATS, [SEEN_KEY, HEARTBEATS_KEY], [repr(max_age_s)])
        return {name.decode(): beat for name, beat in zip(answer[1::2], answer[2::2], strict=True)}

    async def experiments(self) -> list[Record]:
        """Return all experiments, by name."""
        return await self._documents("experiments")

    async def save_experiment(
        self, name: str, document: bytes, expected_revision: int, fence: int | None, entries: Sequence[Entry] = ()
    ) -> int:
        """Store a document in place of the revision its writer had read, and tell histories of it."""
        return await self._save("experiments", name, document, expected_revision, fence, entries)

    async def remove_experiment(
        self, name: str, expected_revision: int, fence: int | None, entries: Sequence[Entry] = ()
    ) -> None:
        """Forget a document and its snapshot."""
        await self._beside.change("experiments", name, expected_revision, None, fence, entries)

    async def backends(self) -> list[Record]:
        """Return what managed backends are to serve."""
        return await self._documents("backends")

    async def save_backend(self, name: str, document: bytes, expected_revision: int, fence: int) -> int:
        """Store what a backend is to serve in place of the revision its writer had read."""
        return await self._save("backends", name, document, expected_revision, fence)

    async def deployments(self) -> list[Record]:
        """Return all deployments of versions."""
        return await self._documents("deployments")

    async def save_deployment(
        self, name: str, document: bytes, expected_revision: int, fence: int | None, entries: Sequence[Entry] = ()
    ) -> int:
        """Store how far a deployment is, and tell histories of it."""
        return await self._save("deployments", name, document, expected_revision, fence, entries)

    async def prices(self) -> list[Record]:
        """Return what the leader holds of fed prices."""
        return await self._documents("prices")

    async def save_price(
        self, name: str, document: bytes, expected_revision: int, fence: int | None, entries: Sequence[Entry] = ()
    ) -> int:
        """Store what is held of a backend's price, and tell histories of it."""
        return await self._save("prices", name, document, expected_revision, fence, entries)

    async def bills(self) -> list[Record]:
        """Return what model servers have cost so far."""
        return await self._documents("bills")

    async def save_bill(self, name: str, document: bytes, expected_revision: int, fence: int) -> int:
        """Store what a backend has cost so far."""
        return await self._save("bills", name, document, expected_revision, fence)

    async def append_history(self, name: str, entry: bytes, fence: int) -> None:
        """Add an entry to an experiment's history."""
        await self._beside.change("experiments", name, None, None, fence, [Entry(name, entry)])

    async def history(self, name: str, limit: int) -> list[bytes]:
        """Return the last `limit` entries, the oldest of them first."""
        return (await self.page(name, limit, None))[0]

    async def page(self, name: str, limit: int, before: int | None) -> tuple[list[bytes], int | None]:
        """Return the last `limit` entries before a number."""
        _, first, *entries = await self._beside.run(
            PAGE,
            [TOLD_KEY, history_key(name)],
            [name, str(max(0, limit)), "" if before is None else str(before)],
            is_bulk=True,
        )
        return ledger.page(list(enumerate(entries, int(first))), limit)

    async def publish(self, name: str, version: int, snapshot: bytes, fence: int) -> None:
        """Make a snapshot the experiment's current one."""
        answer = await self._beside.run(
            PUBLISH, [LEASE_KEY, SNAPSHOTS_KEY], [str(fence), name, str(version), bytes(snapshot)]
        )
        check_fence(answer, fence)
        if answer[0] == b"VERSION":
            ledger.check_version(name, version, int(answer[1]))

    async def snapshots(self) -> dict[str, tuple[int, bytes]]:
        """Return the current snapshot of every experiment."""
        return {record.name: (record.revision, record.document) for record in await self._beside.kept(SNAPSHOTS_KEY)}

    async def lease(self, owner: str, now: float, ttl_s: float) -> int | None:
        """Take or renew the lease, by the server's clock; after the store was changed under its holder, in a new epoch."""
        while True:
            answer = await self._beside.beat(LEASE, [LEASE_KEY], [owner, repr(ttl_s)])
            if self._memory is not None:
                await self._memory.keep_now_and_then()
            if self._changes_led == self._lineage.changes:
                return int(answer[4]) if answer[0] == b"OK" else None
            # Who led before knows sums that the store has not: it is to begin anew.
            self._changes_led = self._lineage.changes
            await self.release(owner)

    async def release(self, owner: str) -> None:
        """Give the lease back."""
        await self._beside.run(RELEASE, [LEASE_KEY], [owner])

    async def _documents(self, table: str) -> list[Record]:
        return await self._beside.kept(BASE_KEY + table)

    async def _save(
        self,
        table: str,
        name: str,
        document: bytes,
        expected_revision: int,
        fence: int | None,
        entries: Sequence[Entry] = (),
    ) -> int:
        await self._beside.change(table, name, expected_revision, bytes(document), fence, entries)
        return expected_revision + 1
