"""Whichever call of a story fails, before or after it was done: what callers repeat counts once, and nothing is lost."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import pytest

from router.ledger import Ledger
from router.store import Cell, Entry, RevisionConflict, Reward, RewardResult, Store
from router.store.memory import MemoryStore
from router.store.redis_store import RedisStore
from tests.redis_server import RedisServer
from tests.router.store.conftest import opened_at_now
from tests.router.store.faults import Fault, FaultyRedis, FaultySqlite, FaultyStore, again, faults
from tests.router.store.samples import NOW, reward, with_zeros

RECORDED, DUPLICATE, CONFLICT = RewardResult.RECORDED, RewardResult.DUPLICATE, RewardResult.CONFLICT
_TTL_S: Final = 3.0


class Story:
    """A gateway that counts, its clients' rewards, and a leader. `number` keeps stories on one store apart."""

    def __init__(self, number: int) -> None:
        self._epochs = (2 * number + 1, 2**64 - 2 * number - 2)
        self._name = f"digits-{number}"
        self._first = 1000 * number
        self._cells = [Cell(epoch, arm, 7) for epoch in self._epochs for arm in (0, 1)]
        # The last call has some that are known, one of them with another value.
        self._rewards = [self._reward(place) for place in range(12)]
        self._more = [*self._rewards[6:], self._reward(0, 9.0), *(self._reward(place) for place in range(12, 16))]

    def _reward(self, place: int, value: float = 1.0) -> Reward:
        return reward(self._first + place, value, cell=self._cells[place % 4])

    async def play(self, store: Store) -> None:
        """Tell it, repeating whatever is not answered."""
        ledger = Ledger()
        for decisions in (3, 4):
            for cell in self._cells:
                ledger.add(cell, decisions=decisions, rows=1)
            flush = ledger.parcel()
            await again(lambda: store.flush(self._name, flush.sequence, flush.deltas, b"beat", NOW))  # noqa: B023 - awaited
            ledger.confirm(flush)
        # A parcel that was given up for lost comes late.
        await again(lambda: store.flush(self._name, 1, {self._cells[0]: {"decisions": 3}}, b"late", NOW))
        first = await again(lambda: store.add_rewards(self._rewards))
        more = await again(lambda: store.add_rewards(self._more))
        # Who repeats a call that was done is told of duplicates: each reward was counted by one of the two.
        assert set(first) <= {RECORDED, DUPLICATE}
        assert more[:7] == [*[DUPLICATE] * 6, CONFLICT]
        assert set(more[7:]) <= {RECORDED, DUPLICATE}
        await self._lead(store)

    async def _lead(self, store: Store) -> None:
        fence = await again(lambda: store.lease(self._name, NOW, _TTL_S))
        assert fence is not None
        for revision, document in ((0, b"one"), (1, b"two")):
            told = [Entry(self._name, document), Entry(f"/{self._name}", document)]
            await self._saved(store, revision, document, fence, told)
            await again(lambda: store.publish(self._name, revision + 1, document, fence))  # noqa: B023 - awaited
        await again(lambda: store.release(self._name))

    async def _saved(self, store: Store, revision: int, document: bytes, fence: int, told: list[Entry]) -> None:
        """Save as a leader does: who finds another revision than the one it wrote to reads what is there."""
        try:
            await again(lambda: store.save_experiment(self._name, document, revision, fence, told))
        except RevisionConflict:
            (found,) = [one for one in await again(store.experiments) if one.name == self._name]
            assert (found.revision, found.document) == (revision + 1, document)

    async def check(self, store: Store) -> None:
        """Assert the laws."""
        for epoch in self._epochs:
            cells = [cell for cell in self._cells if cell.epoch == epoch]
            assert await store.sums(epoch) == {
                (cell.arm, cell.block): with_zeros(decisions=7, rows=2, rewards=4, reward_q=4) for cell in cells
            }
        assert await store.add_rewards(self._rewards) == [DUPLICATE] * 12
        for name in (self._name, f"/{self._name}"):
            assert await store.history(name, 9) == [b"one", b"two"]
        assert (await store.snapshots())[self._name] == (2, b"two")
        assert await store.lease("next", NOW, _TTL_S) is not None
        await store.release("next")


async def every_point(
    store: Store, struck: Store, strike: Callable[[Fault | None], None], *, times: tuple[int, ...] = (1,)
) -> int:
    """Play the story once for each fault, on one store; return how many there were."""
    points = 0
    for number, fault in enumerate(faults(times=times)):
        story = Story(number)
        strike(fault)
        await story.play(struck)
        strike(None)
        await story.check(store)
        points += fault.has_struck
    return points


async def test_every_call_of_a_store_may_fail(store: Store) -> None:
    faulty = FaultyStore(store)

    def strike(fault: Fault | None) -> None:
        faulty.fault = fault

    # Eleven calls, each before and after.
    assert await every_point(store, faulty, strike) >= 22  # type: ignore[arg-type]  # It has every method.


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[FaultySqlite]:
    faulty = FaultySqlite(str(tmp_path / "turpin.db"))
    await faulty.store.open()
    yield faulty
    await faulty.store.close()


async def test_every_statement_of_sqlite_may_fail(sqlite: FaultySqlite) -> None:
    assert await every_point(sqlite.store, sqlite.store, sqlite.strike, times=(1, 2)) > 100


async def test_every_command_to_redis_may_fail(redis: RedisServer) -> None:
    store = opened_at_now(redis.url)
    assert isinstance(store, RedisStore)
    await store.open()
    faulty = FaultyRedis(store)

    # Once: the link sends what may be repeated again. Twice: the caller does.
    assert await every_point(store, store, faulty.strike, times=(1, 2)) > 60
    await store.close()


class Forgetful(MemoryStore):
    """A store that counts a flush as often as it is sent."""

    async def flush(self, gateway: str, sequence: int, *rest: object) -> None:
        self._gateways.pop(gateway, None)
        await super().flush(gateway, sequence, *rest)  # type: ignore[arg-type]


class Careless(MemoryStore):
    """A store that adds a call's rewards before it looks whether they are known, if it answers nobody."""

    async def add_rewards(self, rewards: object) -> list[RewardResult]:
        self._known.clear()
        return await super().add_rewards(rewards)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [Forgetful, Careless])
async def test_loop_finds_a_store_that_counts_twice(kind: type[MemoryStore]) -> None:
    store = kind()
    await store.open()
    faulty = FaultyStore(store)

    def strike(fault: Fault | None) -> None:
        faulty.fault = fault

    with pytest.raises(AssertionError):
        await every_point(store, faulty, strike)  # type: ignore[arg-type]
