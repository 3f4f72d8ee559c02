"""Every store tells what has changed since it was last asked, and nothing less."""

import random

from router.store import Store
from tests.router.store.samples import CELL, NOW, reward, with_zeros


async def test_what_changed_put_together_is_all_there_is(store: Store) -> None:
    rng, together, stamp = random.Random(1), dict[tuple[int, int], dict[str, int]](), 0
    for step in range(40):
        cell = CELL._replace(arm=rng.randrange(3), block=rng.randrange(-1, 3))
        if rng.random() < 0.5:
            await store.flush("g", step + 1, {cell: {"rows": 1}, CELL._replace(epoch=8): {"rows": 1}}, b"", NOW)
        else:
            await store.add_rewards([reward(step, 1.0, cell=cell)])
        if rng.random() < 0.5:
            stamp, changed = await store.sums_since(CELL.epoch, stamp)
            together |= changed
            assert together == await store.sums(CELL.epoch)

    assert len(together) > 5


async def test_what_has_not_changed_is_not_told_again(store: Store) -> None:
    await store.flush("g", 1, {CELL: {"rows": 1}, CELL._replace(arm=2): {"rows": 2}}, b"", NOW)
    first = await store.sums_since(CELL.epoch, 0)
    assert (await store.sums_since(CELL.epoch, first.stamp)).cells == {}
    # A reward of long ago is new.
    await store.add_rewards([reward(1, 1.0)])

    second = await store.sums_since(CELL.epoch, first.stamp)

    assert second.cells == {(CELL.arm, CELL.block): with_zeros(rows=1, rewards=1, reward_q=1)}
    assert (await store.sums_since(CELL.epoch, second.stamp)) == (second.stamp, {})
