"""No second holds more requests to a backend than it can bear."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from router.capacity import Capacity
from router.decisions import Mode
from router.snapshot import PARTS
from tests.router.samples import BACKEND, V1, V2, Instant, ask, bench, snapshot


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


def test_requests_beyond_the_capacity_are_answered_by_the_serving_arm_and_not_learned() -> None:
    now = [0.0]
    backend = Instant({})
    to_v2 = snapshot(0, PARTS)
    arms = tuple(msgspec.structs.replace(arm, rps_max=3.0) for arm in to_v2.arms)
    on = bench({BACKEND: backend}, [msgspec.structs.replace(to_v2, arms=arms)], clock=lambda: now[0])

    modes = []
    for second in (0.0, 0.5, 1.0):
        now[0] = second
        modes += [on.keys.verify(ask(on, number).decision).mode for number in range(5)]

    # Three in the first second and three in the next; half a second later none more.
    assert backend.servables == [V2] * 3 + [V1] * 2 + [V1] * 5 + [V2] * 3 + [V1] * 2
    assert [mode is Mode.EXPERIMENT for mode in modes] == [True] * 3 + [False] * 7 + [True] * 3 + [False] * 2
