"""What a worker counts reaches the store exactly once, whatever becomes of its flushes."""

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from router.ledger import Ledger
from router.store import Cell
from router.store.memory import MemoryStore
from tests.router.samples import NOW

CELL = Cell(7, 0, 1)


def test_parcel_that_was_not_confirmed_is_sent_again_unchanged_and_new_counts_go_next() -> None:
    ledger = Ledger()
    ledger.add(CELL, decisions=1)
    first = ledger.parcel()
    ledger.add(CELL, decisions=10)

    again = ledger.parcel()
    ledger.confirm(again)
    following = ledger.parcel()

    assert again is first
    assert (first.sequence, first.deltas) == (1, {CELL: {"decisions": 1}})
    assert (following.sequence, following.deltas) == (2, {CELL: {"decisions": 10}})


def test_parcel_is_numbered_even_when_it_is_empty() -> None:
    ledger = Ledger()
    for _ in range(3):
        ledger.confirm(ledger.parcel())

    assert ledger.parcel().sequence == 4
    assert ledger.parcel().deltas == {}


def test_late_confirmation_of_an_old_parcel_does_not_drop_the_present_one() -> None:
    ledger = Ledger()
    old = ledger.parcel()
    ledger.confirm(old)
    ledger.add(CELL, decisions=1)
    present = ledger.parcel()

    ledger.confirm(old)

    assert ledger.parcel() is present


def test_parcel_does_not_change_while_it_is_under_way() -> None:
    ledger = Ledger()
    ledger.add(CELL, decisions=1)
    parcel = ledger.parcel()

    ledger.add(CELL, decisions=5, errors=1)

    assert parcel.deltas == {CELL: {"decisions": 1}}


counts = st.tuples(
    st.sampled_from(["decisions", "rows", "busy_ns"]), st.integers(0, 1), st.integers(0, 2), st.integers(0, 2**40)
)
# Of a flush: it arrives and is confirmed, it is lost on the way, or its answer is.
steps = st.lists(st.one_of(counts, st.sampled_from(["arrives", "is lost", "answer is lost"])), max_size=40)


@given(steps, steps)
def test_every_count_of_every_worker_reaches_the_store_once(
    one: list[tuple[str, int, int, int] | str], other: list[tuple[str, int, int, int] | str]
) -> None:
    store, wanted = MemoryStore(), Counter[tuple[int, int, str]]()

    async def worker(name: str, steps: list[tuple[str, int, int, int] | str]) -> None:
        ledger = Ledger()
        for step in [*steps, "arrives", "arrives"]:
            if not isinstance(step, str):
                field, arm, block, value = step
                ledger.add(Cell(7, arm, block), **{field: value})
                wanted[arm, block, field] += value
                continue
            parcel = ledger.parcel()
            if step != "is lost":
                await store.flush(name, parcel.sequence, parcel.deltas, b"", NOW)
            if step == "arrives":
                ledger.confirm(parcel)

    async def play() -> dict[tuple[int, int], dict[str, int]]:
        await store.open()
        await worker("gw-1", one)
        await worker("gw-2", other)
        return await store.sums(7)

    sums = asyncio.run(play())

    found = {(arm, block, name): n for (arm, block), cell in sums.items() for name, n in cell.items() if n}
    assert found == {key: n for key, n in wanted.items() if n}
