"""Clocks that differ or jump, by an hour, neither take a lease away nor keep it. G4."""

from router.store import RewardResult, Store, open_store
from router.store.ledger import Lease, take_lease
from tests.redis_server import RedisServer
from tests.router.store.conftest import StoreTime, opened_at_now
from tests.router.store.samples import NOW, reward

HOUR_S = 3600.0


def test_lease_of_a_clock_that_was_set_back_since_is_over() -> None:
    held = take_lease(Lease(), "a", NOW + HOUR_S, 5.0)
    assert held is not None

    assert take_lease(held, "b", NOW, 5.0) == Lease("b", 2, NOW + 5.0)
    assert take_lease(held, "b", NOW + HOUR_S - 4.9, 5.0) is None
    assert take_lease(held, "b", NOW + HOUR_S + 4.9, 5.0) is None


async def test_redis_goes_by_its_own_clock(redis: RedisServer) -> None:
    ahead, right = open_store(redis.url, unix_now=lambda: NOW + 3600.0), open_store(redis.url, unix_now=lambda: NOW)
    await ahead.open()
    await right.open()
    assert await right.lease("right", NOW, 5.0) == 1
    await right.flush("right", 1, {}, b"beat", NOW)

    assert await ahead.lease("ahead", NOW + 3600.0, 5.0) is None
    assert await ahead.heartbeats(NOW + 3600.0, 10.0) == {"right": b"beat"}
    await ahead.close()
    await right.close()


async def test_gateway_whose_clock_is_ahead_forgets_no_pair_for_the_others(redis: RedisServer) -> None:
    ahead, right = open_store(redis.url, unix_now=lambda: 1e11), opened_at_now(redis.url)
    await ahead.open()
    await right.open()
    late = int(NOW) + 10**9  # further away than the server's clock is
    await right.add_rewards([reward(1, expires_at=late)])

    await ahead.add_rewards([reward(2, expires_at=late)])
    assert await right.add_rewards([reward(1, expires_at=late)]) == [RewardResult.DUPLICATE]
    await ahead.close()
    await right.close()


async def test_heartbeats_are_those_of_gateways_that_flushed_lately(store: Store, time: StoreTime) -> None:
    await store.flush("old", 1, {}, b"1", time.now)
    time.passes(20.0)
    await store.flush("new", 1, {}, b"2", time.now)

    assert await store.heartbeats(time.now, 40.0) == {"old": b"1", "new": b"2"}
    assert await store.heartbeats(time.now, 19.9) == {"new": b"2"}


async def test_gateway_silent_for_a_week_is_forgotten(store: Store, time: StoreTime) -> None:
    await store.flush("old", 1, {}, b"1", time.now)
    time.passes(8 * 86_400)
    await store.flush("new", 1, {}, b"2", time.now)

    assert await store.heartbeats(time.now, 1e9) == {"new": b"2"}
