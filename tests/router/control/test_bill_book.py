"""Bills survive the process: a restart of the leader goes on from what is kept, to the nanosecond and pico-dollar."""

from pathlib import Path

import pytest

from router.control.bill_book import BillBook
from router.control.bills import VERSIONS_KEPT, Bill, Bills
from router.heartbeat import ReplicaBeat
from router.store import Store, StoreUnavailable
from router.store.memory import MemoryStore
from router.store.sqlite import SqliteStore

PLACE = ("tfs", "a:1")
LOADED = {PLACE: frozenset({("digits", "1"), ("digits", "2")})}


def busy(seconds: float) -> dict[str, dict[str, dict[str, ReplicaBeat]]]:
    ns = round(seconds * 1e9)
    return {"worker": {"tfs": {"a:1": ReplicaBeat(ns, (("digits", "1", ns),))}}}


def of(bills: Bills) -> tuple[dict[tuple[str, tuple[str, str]], Bill], int, int]:
    return dict(bills.of), bills.time_ns["tfs"], bills.time_pico_usd["tfs"]


def sums_of(bills: Bills) -> tuple[int, int]:
    """All that was charged: nanoseconds and pico-dollars."""
    charged = bills.of.values()
    return (
        sum(bill.busy_ns + bill.idle_ns for bill in charged),
        sum(bill.busy_pico_usd + bill.idle_pico_usd for bill in charged),
    )


async def led(store: Store, who: str) -> int:
    fence = await store.lease(who, 0.0, 1e9)
    assert fence is not None
    return fence


async def opened(store: Store) -> Store:
    await store.open()
    return store


async def test_restart_goes_on_from_what_is_kept(tmp_path: Path) -> None:
    url = str(tmp_path / "turpin.db")
    store = await opened(SqliteStore(url))
    fence, first = await led(store, "one"), Bills()
    # More than 64 bits of pico-dollars: a fleet over years.
    for now, price in ((0.0, 0.5), (10.0, 0.5), (20.0, 1e10)):
        first.observe(now, busy(now / 3), LOADED, {"tfs": price})
    for sent in (0, 2**65):
        first.observe_egress({"worker": (("tfs", "digits", "1", sent),)})
    await BillBook(store, first, lambda: fence, 5.0).write(["tfs"])
    await store.close()

    store, second = await opened(SqliteStore(url)), Bills()
    book = BillBook(store, second, lambda: None, 900.0)
    await book.read()

    assert of(second) == of(first)
    assert first.time_pico_usd["tfs"] > 2**64
    assert second.of["tfs", ("digits", "1")].egress_pico_usd == 2**65
    assert book.since == 5.0
    # The time in between is nobody's: it begins to count at the first look.
    second.observe(1e6, busy(0.0), LOADED, {"tfs": 0.5})
    second.observe(1e6 + 10.0, busy(2.0), LOADED, {"tfs": 0.5})
    assert second.time_ns["tfs"] == first.time_ns["tfs"] + 10 * 10**9
    assert sums_of(second)[0] == second.time_ns["tfs"]
    await store.close()


async def test_who_leads_next_goes_on_from_what_the_last_leader_wrote() -> None:
    store = await opened(MemoryStore())
    old_fence, old, new = await led(store, "old"), Bills(), Bills()
    old.observe(0.0, {}, LOADED, {"tfs": 0.5})
    first = BillBook(store, old, lambda: old_fence, 0.0)
    await first.write(["tfs"])
    second = BillBook(store, new, lambda: new_fence, 50.0)
    await second.read()
    old.observe(60.0, {}, LOADED, {"tfs": 0.5})
    await first.write(["tfs"])
    await store.release("old")
    new_fence = await led(store, "new")

    await second.write(["tfs"])
    await second.write(["tfs"])
    await first.write(["tfs"])

    assert of(new) == of(old)
    # What is fenced off writes nothing.
    assert [record.revision for record in await store.bills()] == [3]


async def test_who_does_not_lead_writes_nothing() -> None:
    store, bills = await opened(MemoryStore()), Bills()
    bills.observe(0.0, {}, LOADED, {})

    await BillBook(store, bills, lambda: None, 0.0).write(["tfs"])

    assert await store.bills() == []


async def test_what_can_not_be_read_begins_anew_and_is_replaced() -> None:
    store, bills = await opened(MemoryStore()), Bills()
    fence = await led(store, "one")
    await store.save_bill("tfs", b'{"since": 1, "time_ns": "x", "time_pico_usd": "0", "versions": []}', 0, fence)
    book = BillBook(store, bills, lambda: fence, 7.0)

    await book.read()
    bills.observe(0.0, {}, LOADED, {})
    bills.observe(1.0, {}, LOADED, {})
    await book.write(["tfs"])

    other = Bills()
    again = BillBook(store, other, lambda: None, 9.0)
    await again.read()
    assert (other.time_ns["tfs"], again.since) == (10**9, 7.0)


async def test_store_that_is_away_is_said_to_the_caller() -> None:
    with pytest.raises(StoreUnavailable):
        await BillBook(MemoryStore(), Bills(), lambda: None, 0.0).read()


def test_versions_that_went_long_ago_are_folded_and_no_money_is_lost() -> None:
    bills, now = Bills(), 0.0
    for number in range(VERSIONS_KEPT + 50):
        loaded = {PLACE: {("digits", str(number))}}
        for _ in range(2):
            now += 1.0
            bills.observe(now, {}, loaded, {"tfs": 0.5})
        bills.fold(loaded)

    assert len(bills.of) == VERSIONS_KEPT
    assert ("tfs", ("digits", str(VERSIONS_KEPT + 49))) in bills.of
    assert ("tfs", ("digits", "0")) not in bills.of
    assert sums_of(bills)[0] == bills.time_ns["tfs"]
    # Each of 249 seconds was rounded for itself.
    assert sums_of(bills)[1] == pytest.approx(bills.time_pico_usd["tfs"], abs=500)


async def test_bills_from_before_egress_was_kept_are_read() -> None:
    store = await opened(MemoryStore())
    fence = await led(store, "one")
    old = b'{"since": 5.0, "time_ns": "9", "time_pico_usd": "8", "versions": [["digits", "1", "4", "5", "6", "2"]]}'
    await store.save_bill("tfs", old, 0, fence)
    bills = Bills()

    await BillBook(store, bills, lambda: None, 900.0).read()

    assert bills.of["tfs", ("digits", "1")] == Bill(4, 5, 6, 2, 0)
