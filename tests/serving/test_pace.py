"""What a replica bears, learned from calls in simulated time."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.batcher import BatchLimits
from serving.latency_line import LatencyLine
from serving.pace import Pace, PaceLimits
from tests.serving.device import V1, Crowded, Device, Play

# The stand-in: 20 ms a batch and 0.25 ms a row, one batch at a time; 64 rows in 36 ms.
CEILING = 64 / 0.036
# Seconds of simulated traffic, a call of Python for each answer: 3 s, and 19 under coverage.
pytestmark = pytest.mark.timeout(120)

LIMITS = BatchLimits(
    max_rows=64, max_in_flight=8, queue_rows=10_000, queue_bytes=10**9, latency_s=0.08, is_in_flight_learned=True
)


def one_at_a_time(rows: int, now: float) -> float:
    return 0.02 + 0.00025 * rows


def test_full_load_comes_near_the_ceiling_of_the_device() -> None:
    play = Play(Device(one_at_a_time), replace(LIMITS, latency_s=0.2))
    play.closed_loop(256, 20.0)

    assert play.rate(since=5.0) >= 0.97 * CEILING


def best_fixed(clients: int, *, dribble_s: float = 0.0, way_s: float = 0.0) -> float:
    """Answers a second of the best of many settings that stay as they are."""
    rates = []
    for slots in (1, 2, 3, 4, 8):
        for rows in (8, 16, 32, 64):
            play = Play(Device(one_at_a_time), BatchLimits(rows, slots, 10_000, 10**9), dribble_s, way_s)
            play.closed_loop(clients, 6.0)
            rates.append(play.rate(since=2.0))
    return max(rates)


@pytest.mark.parametrize("dribble_s", [0.0, 0.0001, 0.0004])
def test_half_load_is_as_good_as_the_best_fixed_setting_however_clients_come_back(dribble_s: float) -> None:
    learned = Play(Device(one_at_a_time), LIMITS, dribble_s)
    learned.closed_loop(64, 20.0)

    assert learned.rate(since=5.0) >= 0.98 * best_fixed(64, dribble_s=dribble_s)


@pytest.mark.parametrize(("way_s", "share"), [(0.02, 0.98), (0.06, 0.85)])
def test_a_far_backend_is_not_taken_for_a_slow_one(way_s: float, share: float) -> None:
    learned = Play(Device(one_at_a_time), LIMITS, 0.0003, way_s)
    learned.closed_loop(64, 40.0)

    # With 60 ms on the way three calls at a time are best. While a call is late anyway, they are tried, and late.
    assert learned.rate(since=10.0) >= share * best_fixed(64, dribble_s=0.0003, way_s=way_s)


def test_where_batches_run_beside_each_other_nobody_is_kept() -> None:
    play = Play(Device(one_at_a_time, lanes=4), LIMITS)
    play.open_loop(100.0, 30.0)
    took = sorted(seconds for when, seconds in play.done if when > 5.0)

    # A call takes 20 ms, and every 10 ms somebody comes.
    assert took[len(took) // 2] <= 0.0305


def test_a_device_that_runs_four_batches_at_a_time_is_found_out() -> None:
    play = Play(Device(one_at_a_time, lanes=4), replace(LIMITS, max_rows=16))
    play.closed_loop(256, 60.0)

    assert play.slots >= 4
    # Four lanes of 16 rows in 24 ms.
    assert play.rate(since=50.0) >= 0.9 * 4 * 16 / 0.024


@pytest.mark.parametrize(("padding", "slots"), [(48, 2), (0, 1)])
def test_padding_is_no_gain(padding: int, slots: int) -> None:
    pace, now_ns = Pace(PaceLimits(64, 8, latency_s=1.0, is_in_flight_learned=True)), 10**9
    while pace.slots == 2:
        now_ns += 11 * 10**6
        pace.ended(V1, 8, now_ns - 22 * 10**6, now_ns, now_ns / 1e9, is_pressed=False)
    # One at a time is tried: 64 rows in 36 ms, if they are anybody's.
    for _ in range(18):
        now_ns += 36 * 10**6
        pace.ended(V1, 64, now_ns - 36 * 10**6, now_ns, now_ns / 1e9, is_pressed=False, padding=padding)

    assert pace.slots == slots


def test_more_calls_are_not_tried_where_the_line_says_that_they_only_cost() -> None:
    play = Play(Device(one_at_a_time), LIMITS, dribble_s=0.0001)
    play.closed_loop(256, 40.0)

    # Three in time would have 26 rows each, where the device does 64 in 36 ms.
    assert min(batch.rows for sent, batch, _ in play.batches if sent > 5.0) > 30


def test_no_more_calls_are_tried_than_are_ours() -> None:
    play = Play(Device(one_at_a_time, lanes=4), replace(LIMITS, max_rows=16))
    play.batcher.replicas.limit(3)
    play.closed_loop(256, 60.0)

    assert play.slots == 3
    # All that the others left.
    assert play.rate(since=50.0) >= 0.9 * 3 * 16 / 0.024


def test_a_device_that_runs_one_at_a_time_is_not_sent_more_than_one_ahead_for_long() -> None:
    play = Play(Device(one_at_a_time), LIMITS)
    play.closed_loop(64, 60.0)

    assert play.slots == 2


def test_where_calls_take_each_others_processors_one_at_a_time_is_found_to_bring_more() -> None:
    device = Crowded(one_at_a_time, crowding=2.0)
    two = Play(device, BatchLimits(64, 2, 10_000, 10**9), dribble_s=0.0001)
    two.closed_loop(64, 10.0)
    learned = Play(Crowded(one_at_a_time, crowding=2.0), LIMITS, dribble_s=0.0001)
    learned.closed_loop(64, 30.0)

    # Two of 32 rows beside each other take 84 ms, one after the other 56.
    assert learned.rate(since=10.0) >= 1.4 * two.rate(since=2.0)


def test_calls_keep_to_the_latency_and_a_doubling_is_overcome_within_five_seconds() -> None:
    play = Play(
        Device(lambda rows, now: one_at_a_time(rows, now) * (2 if 20.0 <= now < 40.0 else 1)),
        replace(LIMITS, max_rows=256),
    )
    play.closed_loop(256, 60.0)
    calls = [(sent, ended - sent) for sent, _, ended in play.batches]

    def share_in_time(since: float, until: float) -> float:
        spent = [seconds for sent, seconds in calls if since <= sent < until]
        return sum(seconds <= 0.08 for seconds in spent) / len(spent)

    # A row more is tried again and again, so a few calls are late.
    assert share_in_time(5.0, 20.0) >= 0.9
    assert share_in_time(25.0, 40.0) >= 0.9
    assert share_in_time(45.0, 60.0) >= 0.9
    before, during = play.rate(since=0.0), sum(25.0 <= when < 40.0 for when, _ in play.done) / 15.0
    after = play.rate(since=45.0)
    # A doubled device brings at least a third through: rows of 40 ms and more cost twice as much, in smaller batches.
    assert during >= before / 3
    assert after >= 0.95 * sum(5.0 <= when < 20.0 for when, _ in play.done) / 15.0


def test_a_model_slower_than_the_wish_is_still_batched() -> None:
    play = Play(Device(lambda rows, now: 0.2 + 0.001 * rows), replace(LIMITS, max_rows=256))
    play.closed_loop(256, 60.0)

    # One row at a time would be 5 a second. The wish can't be met, so a batch may take twice as long as a row.
    late = [(sent, ended) for sent, _, ended in play.batches if sent >= 30.0]
    assert sum(sent < ended for (_, ended), (sent, _) in pairwise(late)) == 0
    assert play.rate(since=20.0) >= 300


def test_fixed_slots_stay_while_rows_are_learned() -> None:
    play = Play(Device(one_at_a_time), replace(LIMITS, is_in_flight_learned=False, max_in_flight=3, max_rows=256))
    play.closed_loop(256, 20.0)

    assert play.slots == 3
    assert play.batcher.rows_max(V1, 0) < 60


def test_without_a_latency_nothing_is_learned() -> None:
    pace = Pace(PaceLimits(max_rows=8, max_in_flight=3))
    pace.ended(V1, 8, 0, 10**10, 10.0, is_pressed=True)

    assert (pace.slots, pace.rows_max(V1), pace.seconds(V1, 8), pace.fastest_s(V1, 10.0)) == (3, 8, 0.0, 0.0)


def test_late_calls_that_were_under_way_together_cut_once() -> None:
    pace = Pace(PaceLimits(max_rows=100, max_in_flight=2, latency_s=0.1))
    pace.ended(V1, 100, 0, 200 * 10**6, 0.2, is_pressed=False)
    assert pace.rows_max(V1) == 100  # One alone is an accident.
    for began, ended in ((10, 210), (20, 220), (30, 230)):
        pace.ended(V1, 100, began * 10**6, ended * 10**6, ended / 1e3, is_pressed=False)

    assert pace.rows_max(V1) == 70


def test_the_fastest_call_is_known_for_a_second() -> None:
    pace = Pace(PaceLimits(max_rows=8, max_in_flight=2, latency_s=0.1))
    for milliseconds in (30, 20, 40):
        pace.ended(V1, 1, 0, milliseconds * 10**6, 5.0, is_pressed=False)

    assert pace.fastest_s(V1, 5.9) == 0.02
    assert pace.fastest_s(V1, 6.1) == 0.0


@given(st.floats(0.0, 0.1), st.floats(0.0, 0.01), st.lists(st.integers(1, 256), min_size=2, max_size=40))
def test_the_line_is_found_wherever_sizes_differ(a: float, b: float, sizes: list[int]) -> None:
    line = LatencyLine()
    for rows in (*sizes, 1, 256):
        line.add(rows, a + b * rows)

    assert line.seconds(1) == pytest.approx(a + b, abs=1e-6)
    assert line.seconds(256) == pytest.approx(a + 256 * b, abs=1e-6)


@given(st.lists(st.tuples(st.integers(1, 256), st.floats(0.0, 10.0)), max_size=40), st.integers(1, 300))
def test_the_line_never_goes_down_and_never_below_nothing(calls: list[tuple[int, float]], rows: int) -> None:
    line = LatencyLine()
    for size, seconds in calls:
        line.add(size, seconds)

    assert 0.0 <= line.seconds(rows) <= line.seconds(rows + 1)
