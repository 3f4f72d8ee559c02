"""Every nanosecond of a replica is charged once: busy and idle of all that is loaded come to price times time."""

import numpy as np
import pytest

from router.control.bills import Bills, Loaded, Place
from router.heartbeat import ReplicaBeat
from serving.cost import BusyMeter

PLACE: Place = ("tfs-a", "a:1")
V1, V2, BYSTANDER = ("digits", "1"), ("digits", "2"), ("other", "7")
LOADED = {PLACE: {V1, V2, BYSTANDER}}
PRICES = {"tfs-a": 3.6}


def beat(busy_s: float, **charged_s: float) -> dict[str, dict[str, ReplicaBeat]]:
    """What a gateway says: busy seconds in all, and what versions v1, v2 were charged."""
    charged = tuple(("digits", name[1:], round(seconds * 1e9)) for name, seconds in charged_s.items())
    return {"tfs-a": {"a:1": ReplicaBeat(round(busy_s * 1e9), charged)}}


def seconds(bills: Bills, loaded: Loaded) -> tuple[float, float]:
    bill = bills.of["tfs-a", loaded]
    return bill.busy_ns / 1e9, bill.idle_ns / 1e9


def test_idle_time_is_split_equally_over_all_that_is_loaded_bystanders_included() -> None:
    bills = Bills()
    bills.observe(0.0, {}, LOADED, PRICES)
    bills.observe(9.0, {}, LOADED, PRICES)

    assert [seconds(bills, one) for one in (V1, V2, BYSTANDER)] == [(0.0, 3.0)] * 3
    # 3.6 dollars an hour are a milli-dollar a second.
    assert bills.of["tfs-a", BYSTANDER].idle_pico_usd == 3 * 10**9
    assert bills.time_pico_usd["tfs-a"] == 9 * 10**9


def test_busy_time_is_charged_to_whoever_called() -> None:
    bills = Bills()
    bills.observe(0.0, {"gw": beat(0.0)}, LOADED, PRICES)
    bills.observe(10.0, {"gw": beat(4.0, v1=3.0, v2=1.0)}, LOADED, PRICES)

    assert [seconds(bills, one) for one in (V1, V2, BYSTANDER)] == [(3.0, 2.0), (1.0, 2.0), (0.0, 2.0)]


def test_long_call_is_no_idle_time_while_it_runs() -> None:
    bills = Bills()
    for second in range(5):
        bills.observe(second, {"gw": beat(second)}, LOADED, PRICES)
    bills.observe(5.0, {"gw": beat(5.0, v1=5.0)}, LOADED, PRICES)

    assert seconds(bills, V1) == (5.0, 0.0)


def test_gateway_that_starts_again_counts_from_nothing() -> None:
    bills = Bills()
    bills.observe(0.0, {"a": beat(100.0, v1=100.0)}, LOADED, PRICES)
    bills.observe(1.0, {"a": beat(101.0, v1=101.0)}, LOADED, PRICES)
    bills.observe(2.0, {"b": beat(0.5, v1=0.5)}, LOADED, PRICES)

    assert seconds(bills, V1)[0] == 1.5


def test_two_workers_never_charge_more_than_there_is_time() -> None:
    bills = Bills()
    for second in range(101):
        says = beat(second, v1=second)
        bills.observe(second, {"a": says, "b": says}, LOADED, PRICES)

    busy_s, _ = seconds(bills, V1)
    assert busy_s <= 102.0
    assert busy_s == pytest.approx(100.0, abs=2.0)


@pytest.mark.parametrize("seed", range(5))
def test_busy_and_idle_of_all_come_to_price_times_time(seed: int) -> None:
    """Two replicas under random calls, metered as workers do, reported late, at a price that changes."""
    rng = np.random.default_rng(seed)
    places: list[Place] = [("tfs-a", "a:1"), ("tfs-a", "a:2")]
    loaded = {place: {V1, V2, BYSTANDER} for place in places}
    bills, meters = Bills(), {place: BusyMeter() for place in places}
    charged: dict[Place, dict[Loaded, int]] = {place: {V1: 0, V2: 0} for place in places}
    running: dict[Place, list[tuple[int, int, Loaded]]] = {place: [] for place in places}
    owed_pico, call_id, now_ns, end_s = 0.0, 0, 0, 2_000
    for second in range(end_s + 1):
        price = 2.0 + second % 7
        for place in places:
            while now_ns < second * 10**9 and rng.random() < 0.9:
                call_id += 1
                began = now_ns + int(rng.integers(0, 10**9))
                running[place].append((began, call_id, V1 if rng.random() < 0.7 else V2))
                break
        for place in places:
            meter = meters[place]
            for began, one, owner in running[place]:
                meter.started(one, began)
                charged[place][owner] += meter.ended(one, began + int(rng.integers(10**6, 3 * 10**8)))
            running[place] = []
        now_ns = second * 10**9
        says: dict[str, dict[str, ReplicaBeat]] = {"tfs-a": {}}
        for place in places:
            parts = tuple((model, version, ns) for (model, version), ns in charged[place].items())
            says["tfs-a"][place[1]] = ReplicaBeat(meters[place].busy_ns(now_ns), parts)
        bills.observe(float(second), {"gw": says}, loaded, {"tfs-a": price})
        owed_pico += 2 * price / 3600 * 1e12 if second else 0.0

    total = sum(bill.busy_pico_usd + bill.idle_pico_usd for bill in bills.of.values())
    assert bills.time_pico_usd["tfs-a"] == pytest.approx(owed_pico, rel=1e-9)
    assert total == pytest.approx(owed_pico, rel=1e-3)
    time_ns = sum(bill.busy_ns + bill.idle_ns for bill in bills.of.values())
    # But for what is carried of each replica.
    assert abs(time_ns - 2 * end_s * 10**9) <= 2 * 2 * 10**9


def egress(bills: Bills) -> list[int]:
    return [bills.of["tfs-a", one].egress_pico_usd for one in (V1, V2)]


def test_egress_is_charged_as_it_grows_whoever_sent() -> None:
    bills = Bills()
    bills.observe_egress({})
    bills.observe_egress({"a": (("tfs-a", *V1, 5),)})
    bills.observe_egress({"a": (("tfs-a", *V1, 7), ("tfs-a", *V2, 1)), "b": (("tfs-a", *V1, 100),)})

    assert egress(bills) == [107, 1]


def test_egress_of_a_gateway_that_was_not_heard_for_a_while_is_charged_once() -> None:
    bills = Bills()
    bills.observe_egress({})
    bills.observe_egress({"a": (("tfs-a", *V1, 5),), "b": (("tfs-a", *V1, 10),)})
    bills.observe_egress({"b": (("tfs-a", *V1, 11),)})
    bills.observe_egress({})
    bills.observe_egress({"a": (("tfs-a", *V1, 8),), "b": (("tfs-a", *V1, 12),)})

    assert egress(bills)[0] == 8 + 12


def test_egress_from_before_the_first_look_was_charged_by_whoever_looked_then() -> None:
    bills = Bills()
    bills.observe_egress({"a": (("tfs-a", *V1, 5),)})
    bills.observe_egress({"a": (("tfs-a", *V1, 6),)})

    assert egress(bills) == [1, 0]


def test_egress_of_a_gateway_that_starts_again_counts_from_nothing() -> None:
    bills = Bills()
    bills.observe_egress({})
    bills.observe_egress({"a": (("tfs-a", *V1, 5),)})
    bills.observe_egress({})
    bills.observe_egress({"again": (("tfs-a", *V1, 2),)})

    assert egress(bills) == [7, 0]
