"""What a client is told of a reward that came while the store was away."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from router.decisions import Keyring
from router.ledger import Ledger
from router.metrics import Metrics
from router.problems import Problem
from router.reward_calls import RewardCalls
from router.rewards import Claim, RewardDesk
from router.routes import Routes
from router.spool import Spool
from router.store import Reward, RewardResult, StoreUnopenable
from router.store.memory import MemoryStore
from tests.router.samples import BACKEND, EPOCH, KEYS, MODEL, NOW, snapshot
from tests.router.spool.test_spool import MIB, FlakyStore
from tests.router.test_rewards import token


def desk_over(store: MemoryStore, spool: Spool | None) -> RewardDesk:
    routes = Routes({BACKEND: (MODEL,)})
    routes.update(snapshot())
    return RewardDesk(
        keys=Keyring(KEYS),
        routes=routes,
        store=store,
        metrics=Metrics(),
        unix_now=lambda: NOW,
        ledger=Ledger(),
        calls=RewardCalls(),
        spool=spool,
    )


@pytest.mark.parametrize(("bytes_max", "status"), [(MIB, 202), (10, 503)])
async def test_reward_is_spooled_or_refused_while_the_store_is_away(
    tmp_path: Path, bytes_max: int, status: int
) -> None:
    store = FlakyStore()
    await store.open()
    spool = Spool(tmp_path / "spool", bytes_max, store=store, metrics=Metrics(), unix_now=lambda: NOW)
    await spool.open()
    desk = desk_over(store, spool)
    store.is_away = True
    claims = [Claim(token(1), 1.0), Claim("forged", 1.0)]

    first, forged = await desk.record(claims)
    store.is_away = False
    await spool.drain()
    again, _ = await desk.record(claims)
    sums = await store.sums(EPOCH)
    await spool.close()

    assert (first.status, first.is_spooled, first.is_learned) == (status, status == 202, status == 202)
    assert forged.problem is Problem.FORGED
    assert again.status == (200 if status == 202 else 202)
    assert sums[1, 3]["rewards"] == 1


class LockedStore(FlakyStore):
    """A store whose password was changed. Mutable: whether ours is right."""

    async def add_rewards(self, rewards: Sequence[Reward]) -> list[RewardResult]:
        if self.is_away:
            raise StoreUnopenable("NOAUTH: check user, password and their permissions")
        return await super().add_rewards(rewards)


async def test_store_that_refuses_us_is_as_good_as_away(tmp_path: Path) -> None:
    store = LockedStore()
    await store.open()
    spool = Spool(tmp_path / "spool", MIB, store=store, metrics=Metrics(), unix_now=lambda: NOW)
    await spool.open()
    desk = desk_over(store, spool)
    store.is_away = True

    (outcome,) = await desk.record([Claim(token(1), 1.0)])
    await spool.drain()
    assert (outcome.status, outcome.is_spooled, spool.is_empty) == (202, True, False)
    store.is_away = False
    await spool.drain()
    assert (await store.sums(EPOCH))[1, 3]["rewards"] == 1
    await spool.close()
