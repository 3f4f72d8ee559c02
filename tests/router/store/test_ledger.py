"""The rules of adding, without a store."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.store import FIELDS, Cell, CounterOverflow, RewardResult
from router.store.contract import INT64_MAX, INT64_MIN
from router.store.ledger import Lease, add, count_rewards, take_lease
from tests.router.store.samples import CELL, reward

EDGES = st.sampled_from([INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX])


@given(st.lists(EDGES | st.integers(INT64_MIN, INT64_MAX), max_size=5), EDGES)
def test_sums_are_those_of_python_or_are_refused(numbers: list[int], start: int) -> None:
    totals = {CELL: [start] + [0] * (len(FIELDS) - 1)}
    right = start + sum(numbers)

    try:
        changed = add([(CELL, {FIELDS[0]: number}) for number in numbers], totals)
    except CounterOverflow:
        assert not INT64_MIN <= right <= INT64_MAX
    else:
        assert INT64_MIN <= changed.get(CELL, totals[CELL])[0] <= INT64_MAX
        assert changed.get(CELL, totals[CELL])[0] == right
    assert totals == {CELL: [start] + [0] * (len(FIELDS) - 1)}


def test_only_cells_that_something_is_added_to_change() -> None:
    other = Cell(1, 2, 3)

    assert add([(CELL, {"rows": 0}), (other, {"rows": 2})], {}) == {other: [2 * (name == "rows") for name in FIELDS]}


def test_counting_changes_neither_what_is_known_nor_the_sums() -> None:
    known = {(reward(1).nonce, "default"): 1.0}
    totals = {CELL: [1] * len(FIELDS)}

    counted = count_rewards([reward(1, 2.0), reward(2)], known, totals)

    assert counted.results == [RewardResult.CONFLICT, RewardResult.RECORDED]
    assert list(counted.fresh.values()) == [reward(2)]
    assert (known, totals) == ({(reward(1).nonce, "default"): 1.0}, {CELL: [1] * len(FIELDS)})


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 9), st.floats(0.1, 5)), max_size=20))
def test_an_epoch_belongs_to_one_owner(calls: list[tuple[str, float, float]]) -> None:
    lease, now = Lease(), 0.0
    owners: dict[int, str] = {}
    for owner, pause, ttl_s in calls:
        now += pause
        taken = take_lease(lease, owner, now, ttl_s)
        if taken is None:
            assert lease.holder not in (None, owner)
            assert lease.expires_at > now
            continue
        assert owners.setdefault(taken.epoch, owner) == owner
        assert taken.epoch in (lease.epoch, lease.epoch + 1)
        lease = taken


def test_an_overflow_says_which_sum_of_which_cell() -> None:
    with pytest.raises(
        CounterOverflow, match=r"reward_q of Cell\(epoch=1, arm=2, block=3\) would become 9223372036854775808"
    ):
        add([(Cell(1, 2, 3), {"reward_q": INT64_MAX}), (Cell(1, 2, 3), {"reward_q": 1})], {})
