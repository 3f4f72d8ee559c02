"""Money and time: nothing lost, nothing doubled, and a line that a starved arm can't bend."""

import itertools
import math
import random
from collections.abc import Hashable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls

from serving.cost import (
    BusyMeter,
    Line,
    cost_usd,
    fit_line,
    pico_usd,
    reference_rows,
    share,
    undisturbed,
)

# A step of the clock and what happens then: call number n starts if it is not in flight, else it ends.
EVENTS = st.lists(st.tuples(st.integers(-5, 50), st.integers(0, 6)), max_size=60)
ROWS = st.lists(st.integers(0, 300), min_size=1, max_size=20)
TIMES = st.floats(1e-6, 100.0)


def replay(events: list[tuple[int, int]]) -> tuple[BusyMeter, list[int], list[Fraction], int, int]:
    """Run events through a meter and, in fractions, through the definition; end what is left 7 ns later."""
    meter, charges, fair = BusyMeter(), list[int](), list[Fraction]()
    owed: dict[int, Fraction] = {}
    now = busy = 0
    seen = events[0][0] if events else 0

    def advance() -> None:
        nonlocal seen, busy
        elapsed, seen = max(0, now - seen), max(seen, now)
        busy += elapsed if owed else 0
        for call in owed:
            owed[call] += Fraction(elapsed, len(owed))

    for step, call in events:
        now += step
        advance()
        if call in owed:
            charges.append(meter.ended(call, now))
            fair.append(owed.pop(call))
        else:
            meter.started(call, now)
            owed[call] = Fraction()
    now = max(now, seen) + 7
    advance()
    for call in list(owed):
        charges.append(meter.ended(call, now))
        fair.append(owed.pop(call))
    return meter, charges, fair, busy, now


@given(EVENTS)
def test_the_charges_sum_to_the_busy_wall_time_to_the_nanosecond(events: list[tuple[int, int]]) -> None:
    meter, charges, _, busy, now = replay(events)

    assert sum(charges) == busy == meter.busy_ns(now)
    assert meter.in_flight == 0


@given(EVENTS)
def test_no_charge_is_negative_or_far_from_its_fair_share(events: list[tuple[int, int]]) -> None:
    _, charges, fair, _, _ = replay(events)

    assert all(charge >= 0 for charge in charges)
    # 1 ns per event (each call has two, the clock's steps included in them), as the meter promises.
    events_total = 2 * len(charges) + 1
    assert all(abs(charge - due) <= events_total for charge, due in zip(charges, fair, strict=True))


def test_two_calls_share_only_the_time_they_overlap() -> None:
    meter = BusyMeter()
    meter.started("long", 0)
    meter.started("short", 60)

    assert meter.ended("short", 80) == 10
    assert meter.ended("long", 100) == 90
    assert meter.busy_ns(500) == 100


def test_what_does_not_divide_goes_to_the_calls_that_stay() -> None:
    meter = BusyMeter()
    for call in range(3):
        meter.started(call, 0)

    assert [meter.ended(call, 11) for call in range(3)] == [3, 4, 4]


def test_a_clock_that_falls_back_stands_still_until_it_has_caught_up() -> None:
    meter = BusyMeter()
    meter.started("a", 100)
    meter.started("b", 50)

    assert meter.ended("b", 90) == 0
    assert meter.ended("a", 120) == 20


@pytest.mark.parametrize("misuse", ["start twice", "end unknown"])
def test_a_call_id_used_wrongly_is_named(misuse: str) -> None:
    meter = BusyMeter()
    meter.started("known", 0)
    call: Hashable = "known" if misuse == "start twice" else "unknown"

    with pytest.raises(ValueError, match=repr(call)):
        (meter.started if misuse == "start twice" else meter.ended)(call, 1)


@given(st.integers(0, 10**15), ROWS)
def test_parts_sum_to_the_whole_and_lie_within_one_of_their_due(charged: int, rows: list[int]) -> None:
    parts = share(charged, rows)
    due = [Fraction(charged * row, sum(rows)) if sum(rows) else Fraction(charged, len(rows)) for row in rows]

    assert sum(parts) == charged
    assert all(abs(part - fair) < 1 for part, fair in zip(parts, due, strict=True))


@given(st.integers(0, 10**9), ROWS)
def test_more_rows_never_get_a_smaller_part(charged: int, rows: list[int]) -> None:
    by_rows = sorted(zip(rows, share(charged, rows), strict=True))

    assert all(a[1] <= b[1] for a, b in itertools.pairwise(by_rows) if a[0] < b[0])


@given(st.integers(0, 10**9), ROWS, st.randoms(use_true_random=False))
def test_the_order_of_riders_does_not_change_what_rows_get(charged: int, rows: list[int], rng: random.Random) -> None:
    shuffled = rng.sample(rows, len(rows))

    assert sorted(zip(rows, share(charged, rows), strict=True)) == sorted(
        zip(shuffled, share(charged, shuffled), strict=True)
    )


@pytest.mark.parametrize(("charged", "rows"), [(-1, [1]), (1, []), (1, [2, -1])])
def test_a_split_that_can_not_be_is_refused(charged: int, rows: list[int]) -> None:
    with pytest.raises(ValueError, match="share needs"):
        share(charged, rows)


@given(st.floats(0, 1), st.floats(0, 1), st.sets(st.integers(1, 512), min_size=2, max_size=10))
def test_a_true_line_is_found_again(a: float, b: float, sizes: set[int]) -> None:
    times = [a + b * rows + 1e-6 for rows in sizes]

    line = fit_line(list(sizes), times)

    assert [line.seconds(rows) for rows in sizes] == pytest.approx(times, rel=1e-6)


@given(st.lists(st.tuples(st.integers(1, 256), TIMES), min_size=2, max_size=12))
def test_the_fit_is_the_best_one_without_negative_coefficients(points: list[tuple[int, float]]) -> None:
    sizes, times = [p[0] for p in points], [p[1] for p in points]

    line = fit_line(sizes, times)

    errors = [line.seconds(rows) / time - 1 for rows, time in points]
    _, best = nnls(np.array([[1 / time, rows / time] for rows, time in points]), np.ones(len(points)))
    assert math.hypot(*errors) <= best * (1 + 1e-6) + 1e-7
    assert line.a_s >= 0
    assert line.b_s >= 0


@given(st.lists(st.tuples(st.integers(1, 64), TIMES), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_fit_does_not_depend_on_the_order_of_measurements(
    points: list[tuple[int, float]], rng: random.Random
) -> None:
    shuffled = rng.sample(points, len(points))

    assert fit_line([p[0] for p in points], [p[1] for p in points]) == fit_line(
        [p[0] for p in shuffled], [p[1] for p in shuffled]
    )


@given(st.lists(st.tuples(st.integers(1, 64), TIMES), min_size=2, max_size=8), st.integers(-8, 8))
def test_a_machine_twice_as_slow_has_a_line_twice_as_high(points: list[tuple[int, float]], power: int) -> None:
    sizes, factor = [p[0] for p in points], 2.0**power
    line = fit_line(sizes, [p[1] for p in points])

    slower = fit_line(sizes, [p[1] * factor for p in points])

    assert slower == Line(line.a_s * factor, line.b_s * factor)


def test_small_batches_count_as_much_as_large_ones() -> None:
    # The largest batch is 20 % too slow. By absolute errors that alone would drive a (1 ms) to its bound.
    sizes = [1, 2, 4, 8, 16, 32, 64]
    times = [0.001 + 0.001 * rows for rows in sizes]
    times[-1] *= 1.2

    line = fit_line(sizes, times)

    assert line.seconds(1) == pytest.approx(0.002, rel=0.1)


def test_one_size_alone_charges_every_row_like_the_measured_ones() -> None:
    assert fit_line([4, 4], [0.08, 0.08]) == Line(0.0, 0.02)


def test_times_that_fall_with_size_make_a_flat_line() -> None:
    assert fit_line([1, 2, 4], [0.003, 0.002, 0.002]).b_s == 0


@pytest.mark.parametrize(
    ("sizes", "seconds"), [([], []), ([1, 2], [1.0]), ([0], [1.0]), ([1], [0.0]), ([1], [math.nan]), ([1], [math.inf])]
)
def test_measurements_that_can_not_be_are_refused(sizes: list[int], seconds: list[float]) -> None:
    with pytest.raises(ValueError, match="a fit needs"):
        fit_line(sizes, seconds)


@pytest.mark.parametrize(("a", "b"), [(-1.0, 1.0), (0.0, 0.0), (math.nan, 1.0), (1.0, math.inf)])
def test_a_line_that_can_not_be_is_refused(a: float, b: float) -> None:
    with pytest.raises(ValueError, match="a line needs"):
        Line(a, b)


@pytest.mark.parametrize(("calls", "left_out"), [(1, 0), (9, 0), (10, 1), (16, 1), (20, 2)])
def test_undisturbed_time_is_the_lowest_but_for_one_in_ten(calls: int, left_out: int) -> None:
    times = [float(number) for number in range(calls)]
    random.Random(calls).shuffle(times)

    assert undisturbed(times) == left_out


def test_undisturbed_time_stands_however_long_most_calls_are_held_up() -> None:
    assert undisturbed([50.0, 1.0, 800.0, 1.0, 70.0, 9.0, 30.0, 60.0, 1e6, 20.0]) == 1.0


def test_the_reference_is_the_batch_a_typical_row_rides_in() -> None:
    # 100 single rows and 4 batches of 64: most batches are single, most rows are not.
    assert reference_rows(1, {1: 100, 64: 4}) == 64


@pytest.mark.parametrize(
    ("current", "median_rows", "expected"), [(16, 11, 16), (16, 24, 16), (16, 10, 10), (16, 25, 25), (1, 2, 2)]
)
def test_the_reference_stands_within_its_hysteresis(current: int, median_rows: int, expected: int) -> None:
    assert reference_rows(current, {median_rows: 3}) == expected


@given(st.integers(1, 512), st.dictionaries(st.integers(1, 512), st.integers(0, 50), max_size=8))
def test_the_reference_never_flaps(current: int, batches: dict[int, int]) -> None:
    once = reference_rows(current, batches)

    assert reference_rows(once, batches) == once
    assert once == current or batches[once] > 0


def test_the_deciding_cost_is_the_line_at_the_reference_size_times_the_price() -> None:
    # 16 rows in 3.2 ms, at $1.80 an hour: $0.0005 a second, 0.2 ms a row, a tenth of a micro-dollar.
    assert cost_usd(Line(0.0016, 0.0001), 1.0, 16, 1.8) == pytest.approx(1e-7)
    assert cost_usd(Line(0.0016, 0.0001), 1.5, 16, 1.8) == pytest.approx(1.5e-7)


@given(st.integers(0, 10**16), st.floats(0, 1e4))
def test_pico_dollars_are_rounded_from_the_exact_product(ns: int, price: float) -> None:
    exact = ns * Fraction(price) * 10**12 / (3600 * 10**9)

    assert abs(pico_usd(ns, price) - exact) <= Fraction(1, 2)


@given(st.integers(0, 10**13), st.integers(0, 10**13), st.floats(0, 100), st.floats(0, 100))
def test_more_time_or_a_higher_price_never_costs_less(ns: int, more: int, price: float, dearer: float) -> None:
    assert pico_usd(ns, price) <= pico_usd(ns + more, price)
    assert pico_usd(ns, min(price, dearer)) <= pico_usd(ns, max(price, dearer))


def test_a_millisecond_at_half_a_dollar_an_hour() -> None:
    assert pico_usd(10**6, 0.526) == 146_111


@pytest.mark.parametrize(("ns", "price"), [(-1, 1.0), (1, -1.0), (1, math.nan), (1, math.inf)])
def test_money_from_nonsense_is_refused(ns: int, price: float) -> None:
    with pytest.raises(ValueError, match="a cost needs"):
        pico_usd(ns, price)
