"""What is the memory store's own."""

from router.store import RewardResult, open_store
from tests.router.store.samples import NOW, reward


async def test_every_memory_store_is_a_new_one() -> None:
    one, other = open_store("memory:"), open_store("memory:")
    await one.open()
    await other.open()

    await one.add_rewards([reward(1)])

    assert await other.add_rewards([reward(1)]) == [RewardResult.RECORDED]


async def test_forgetting_takes_bounded_steps() -> None:
    store = open_store("memory:")
    await store.open()
    rewards = [reward(number, expires_at=int(NOW)) for number in range(5000)]
    await store.add_rewards(rewards)

    await store.flush("g", 1, {}, b"", NOW)
    first = await store.add_rewards(rewards)
    await store.flush("g", 2, {}, b"", NOW)
    await store.flush("g", 3, {}, b"", NOW)

    assert first.count(RewardResult.RECORDED) == 4096
    assert await store.add_rewards(rewards) == [RewardResult.RECORDED] * 5000
