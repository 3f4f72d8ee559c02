"""What a worker counts reaches the store exactly once, whatever becomes of its flushes."""

import asyncio
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from bandits.sample_ratio import LAMBDAS, SHARP_BITS, STORED_BITS, log_moments
from bandits.weights import PARTS, cumulative, to_parts
from router.ledger import Ledger, moment_cell
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


@settings(deadline=None, max_examples=50)
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


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.lists(st.integers(1, 1000), min_size=2, max_size=3), st.integers(0, 1)),
        max_size=60,
    )
)
def test_draws_reach_the_store_with_what_their_weights_promised(draws: list[tuple[int, list[int], int]]) -> None:
    """However draws are spread over flushes and snapshots, less than one stored step of each moment is still carried."""
    ledger = Ledger()
    found: Counter[tuple[Cell, str]] = Counter()
    exact: Counter[Cell] = Counter()
    for flushes, shares, arm in draws:
        parts = to_parts(shares)
        ledger.assign(7, 1, cumulative(parts), arm)
        for k, moments in enumerate(log_moments(parts)):
            exact.update({moment_cell(7, k, place): moment for place, moment in enumerate(moments)})
        for _ in range(flushes):
            collect(ledger, found)
    collect(ledger, found)

    for arm in range(2):
        assert found[Cell(7, arm, 1), "assigned"] == sum(one == arm for _, _, one in draws)
    for cell, moment in exact.items():
        left = moment - (found[cell, "log_moment"] << (SHARP_BITS - STORED_BITS))
        assert 0 <= left < 1 << (SHARP_BITS - STORED_BITS)


def collect(ledger: Ledger, into: Counter[tuple[Cell, str]]) -> None:
    """Flush, and add up what was sent."""
    parcel = ledger.parcel()
    ledger.confirm(parcel)
    for cell, fields in parcel.deltas.items():
        into.update({(cell, name): value for name, value in fields.items()})


def test_draws_of_a_lone_arm_promise_just_themselves() -> None:
    ledger = Ledger()
    for _ in range(2**20):
        ledger.assign(7, 1, (PARTS,), 0)

    deltas = ledger.parcel().deltas

    assert deltas.pop(Cell(7, 0, 1)) == {"assigned": 2**20}
    for place, bet in enumerate(LAMBDAS):
        # ln(e^lambda) is lambda; the moment is stored in steps of 2^-20, and 2^20 were added.
        assert abs(deltas[moment_cell(7, 0, place)]["log_moment"] - bet * 2**40) <= 1
