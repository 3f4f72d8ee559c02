"""Open-loop pacing, in time that the test tells."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load.demo.pace import STALL_S, Pace


def send_times(pace: Pace, count: int, seconds_each: float = 0.0) -> list[float]:
    """Send `count` requests, each of which keeps the loop busy for `seconds_each`; return when they left."""
    now, times = 100.0, []
    for _ in range(count):
        now += pace.wait_s(now)
        times.append(now)
        now += seconds_each
    return times


def test_requests_leave_evenly() -> None:
    times = send_times(Pace(250.0), 5)

    assert times == pytest.approx([100.0, 100.004, 100.008, 100.012, 100.016])


def test_short_delays_are_made_up_for() -> None:
    pace = Pace(100.0)
    send_times(pace, 1)

    late = pace.wait_s(100.5)

    assert late == 0.0
    assert pace.wait_s(100.5) == 0.0


def test_long_stall_is_not_followed_by_a_burst() -> None:
    pace = Pace(100.0)
    send_times(pace, 1)
    after = 100.0 + STALL_S + 1.0

    assert pace.wait_s(after) == 0.0
    assert pace.wait_s(after) == pytest.approx(0.01)


def test_rate_zero_never_waits() -> None:
    pace = Pace(0.0)

    assert [pace.wait_s(1.0) for _ in range(100)] == [0.0] * 100


def test_negative_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="rate must be 0"):
        Pace(-1.0)


@given(rate=st.floats(1.0, 5_000.0), busy_s=st.floats(0.0, 0.001), count=st.integers(2, 200))
def test_rate_is_kept_while_the_client_can_bear_it(rate: float, busy_s: float, count: int) -> None:
    times = send_times(Pace(rate), count, min(busy_s, 0.9 / rate))

    assert times[-1] - times[0] == pytest.approx((count - 1) / rate, abs=1e-6)
