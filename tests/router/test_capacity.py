"""No second holds more requests to a backend than it can bear."""

from hypothesis import given
from hypothesis import strategies as st

from router.capacity import Capacity


@given(st.floats(0.2, 30.0), st.lists(st.floats(0.0, 0.4), max_size=200))
def test_no_second_holds_more_than_the_capacity(rps_max: float, pauses: list[float]) -> None:
    capacity, now, taken = Capacity(), 0.0, []
    for pause in pauses:
        now += pause
        if capacity.take("a", rps_max, now):
            taken.append(now)

    window_s = max(1.0, 1.0 / rps_max)
    for begin in taken:
        assert sum(begin <= time < begin + window_s - 1e-9 for time in taken) <= max(1.0, rps_max)


def test_what_fits_is_let_through_and_backends_do_not_share() -> None:
    capacity = Capacity()

    assert [capacity.take("a", 2.0, 0.0) for _ in range(3)] == [True, True, False]
    assert capacity.take("b", 2.0, 0.0)
    assert capacity.take("a", 2.0, 1.0)
