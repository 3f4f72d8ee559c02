"""What lies in Redis beside the sums: documents with their histories, snapshots, the lease, and who is asked about them.

Each call is checked against the lineage: an answer of a store that is not the one that was known is no answer.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from router.store import ledger
from router.store.contract import DEPLOYMENTS_KEPT, HISTORY_KEPT, Entry, Record, StoreReset, StoreUnavailable
from router.store.redis_lineage import Beat, Lineage, Pause
from router.store.redis_link import Answer, RedisLink
from router.store.redis_rewards import RedisSums
from router.store.redis_scripts import BEAT, CHANGE, DOCUMENTS, LOSE, Script

Result = TypeVar("Result")

BASE_KEY: Final = "{turpin}:"
STORE_KEY: Final = BASE_KEY + "store"
PAUSES_KEY: Final = BASE_KEY + "pauses"
BEATERS_KEY: Final = BASE_KEY + "beaters"
LEASE_KEY: Final = BASE_KEY + "lease"
SEQUENCES_KEY: Final = BASE_KEY + "gateways:sequence"
SEEN_KEY: Final = BASE_KEY + "gateways:seen"
HEARTBEATS_KEY: Final = BASE_KEY + "gateways:heartbeat"
SNAPSHOTS_KEY: Final = BASE_KEY + "snapshots"
TOLD_KEY: Final = BASE_KEY + "history:told"

# By how much the lease's epoch grows with a loss: past all that were given out in what was lost. Each change of the
# holder takes a turn of a leader, five a second at most: 50 in the 10 s of a failover, for twenty gateways that fight.
_FENCES_LOST_MAX: Final = 1000


class RedisDocuments:
    """Runs the scripts on what lies beside the sums. Mutable: up to which call without an answer the store is sure."""

    def __init__(self, link: RedisLink, lineage: Lineage, sums: RedisSums) -> None:
        self._link = link
        self._lineage = lineage
        self._sums = sums
        # New with each process: by it the store knows our beats.
        self._who = secrets.token_hex(8)
        # As of the last beat that was answered; whoever comes while one is asked for waits for it.
        self._unanswered = 0
        self._asking = asyncio.Lock()

    async def kept(self, key: str) -> list[Record]:
        """Return what a hash keeps behind its revision and a line break, by name."""
        answer = await self.run(DOCUMENTS, [key], [], is_bulk=True)
        records = []
        for name, kept in zip(answer[1::2], answer[2::2], strict=True):
            revision, _, document = kept.partition(b"\n")
            records.append(Record(name.decode(), int(revision), document))
        return sorted(records, key=lambda record: record.name)

    async def change(
        self,
        table: str,
        name: str,
        expected: int | None,
        document: bytes | None,
        fence: int | None,
        entries: Sequence[Entry],
    ) -> None:
        """Save (`document`), remove (None) or only tell of (`expected` None) a document; RevisionConflict or Fenced."""
        keys = [LEASE_KEY, BASE_KEY + table, f"{BASE_KEY}{table}:order", SNAPSHOTS_KEY, TOLD_KEY]
        arguments: list[str | bytes] = [
            "" if fence is None else str(fence),
            name,
            "" if expected is None else str(expected),
            "" if expected is None or document is None else str(expected + 1),
            document or b"",
            str(DEPLOYMENTS_KEPT if table == "deployments" else 0),
            str(HISTORY_KEPT),
        ]
        for whose, entry in entries:
            keys.append(history_key(whose))
            arguments += (whose, bytes(entry))
        answer = await self.run(CHANGE, keys, arguments)
        if fence is not None:
            check_fence(answer, fence)
        if answer[0] == b"REVISION" and expected is not None:
            ledger.check_revision(name, expected, int(answer[1]))

    async def beat(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes]) -> Answer:
        """Run a script that counts a beat; only those find out that a store that was refused is itself again."""
        while True:
            last = self._lineage.last
            known = [str(last.beats), str(last.losses), repr(last.beat_at), self._who, str(self._lineage.own)]
            answer = await self.run(script, [PAUSES_KEY, BEATERS_KEY, *keys], [*known, *arguments], is_beat=True)
            if answer[0] != b"CHANGED":
                self._lineage.saw(beat_of(answer[1:4]))
                return answer
            await self._go_on(beat_of(answer[1:4]), int(answer[4]), pauses_of(answer[5:]))

    async def _go_on(self, beat: Beat, mine: int, pauses: Sequence[Pause]) -> None:
        """Go on with a store that has changed, or raise StoreReset."""
        changes = self._lineage.changes
        verdict = self._lineage.judge(beat, mine, pauses)
        if verdict == "refuse":
            raise StoreReset(self._lineage.refusal)
        if verdict == "take over":
            # More than anybody of us knew: a store that has lost its last loss must not look like the one with it.
            losses = max(beat.losses, self._lineage.last.losses) + 1
            arguments = [str(beat.losses), str(losses), str(_FENCES_LOST_MAX)]
            answer = await self.run(LOSE, [LEASE_KEY], arguments, is_beat=True)
            if answer[0] == b"OK":
                self._lineage.lost(beat_of(answer[1:4]))
        if self._lineage.changes != changes:
            self._sums.forget()

    async def surely(self, count: Callable[[], Awaitable[Result]]) -> Result:
        """Count on the store that is known, and once more if it went away under the call: all that counts may be repeated."""
        await self._make_sure()
        unanswered = self._link.unanswered
        try:
            return await count()
        except StoreUnavailable:
            if self._link.unanswered == unanswered:
                raise
        await self._make_sure()
        return await count()

    async def _make_sure(self) -> None:
        """Look whether the store is the one that is known, if it was refused, or if a call had no answer since.

        Whoever only counts, as a worker does, would never find out that it is itself again: all that it sends is refused
        before it is sent. And behind a connection that was lost an older one may have been put in its place, which
        would take rewards until the next heartbeat. Raises StoreReset or StoreUnavailable.
        """
        if not self._is_doubtful():
            return
        async with self._asking:
            if self._is_doubtful():
                unanswered = self._link.unanswered
                await self.beat(BEAT, [], [])
                self._unanswered = unanswered

    def _is_doubtful(self) -> bool:
        return bool(self._lineage.refusal) or self._link.unanswered != self._unanswered

    async def run(
        self,
        script: Script,
        keys: Sequence[str],
        arguments: Sequence[str | bytes],
        *,
        is_bulk: bool = False,
        is_beat: bool = False,
    ) -> Answer:
        """Run a script on what lies beside the sums; raises StoreReset when the store is not the one that was known."""
        while True:
            if self._lineage.refusal and not is_beat:
                raise StoreReset(self._lineage.refusal)
            run = self._link.run_bulk if is_bulk else self._link.run
            answer = await run(script, [STORE_KEY, *keys], [self._lineage.generation, *arguments])
            if answer[0] != b"RESET":
                return answer
            _, generation, accepted, *beaten = answer
            if not self._lineage.met_other(generation.decode(), beat_of(beaten), is_accepted=accepted == b"1"):
                raise StoreReset(self._lineage.refusal)
            self._sums.forget()


def beat_of(parts: Sequence[bytes]) -> Beat:
    """Read beats, the time of the last one, and losses."""
    beats, beat_at, losses = parts
    return Beat(int(beats), float(beat_at), int(losses))


def pauses_of(parts: Sequence[bytes]) -> list[Pause]:
    """Read pauses as a sorted set has them."""
    return [(float(since), float(until)) for since, until in zip(parts[::2], parts[1::2], strict=True)]


def history_key(name: str) -> str:
    """Return the key of a history."""
    return f"{BASE_KEY}history:{name}"


def check_fence(answer: Answer, fence: int) -> None:
    """Raise Fenced if that is what a script answered."""
    if answer[0] == b"FENCED":
        ledger.check_fence(fence, int(answer[1]))
