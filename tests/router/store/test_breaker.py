"""The breaker stops asking soon, asks again one by one, and is itself again after one answer."""

import pytest

from router.store.breaker import FAILING_MAX_S, PAUSE_MAX_S, PAUSE_MIN_S, Breaker


def broken(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(3):
        assert breaker.admits(now)
        breaker.failed(now)
    return breaker


def test_three_failures_in_a_row_open_it() -> None:
    breaker = broken()

    assert breaker.is_open
    assert not breaker.admits(PAUSE_MIN_S - 0.001)


def test_an_answer_in_between_keeps_it_closed() -> None:
    breaker = Breaker()
    for _ in range(5):
        breaker.failed(0.0)
        breaker.failed(0.1)
        breaker.succeeded()

    assert not breaker.is_open


def test_two_failures_over_a_long_time_open_it() -> None:
    breaker = Breaker()
    breaker.failed(0.0)
    breaker.failed(FAILING_MAX_S)

    assert breaker.is_open


def test_one_caller_tries_after_the_pause() -> None:
    breaker = broken()

    assert breaker.admits(PAUSE_MIN_S)
    assert not breaker.admits(PAUSE_MIN_S)


def test_pauses_grow_up_to_a_bound_while_tries_fail() -> None:
    breaker, now = broken(), 0.0
    pauses = []
    for pause_s in (0.2, 0.4, 0.8, PAUSE_MAX_S, PAUSE_MAX_S):
        assert not breaker.admits(now + pause_s - 0.01)
        now += pause_s
        assert breaker.admits(now)
        breaker.failed(now)
        pauses.append(pause_s)

    assert pauses[-1] == PAUSE_MAX_S


def test_an_answer_closes_it() -> None:
    breaker = broken()
    breaker.admits(PAUSE_MIN_S)
    breaker.succeeded()

    assert [breaker.admits(PAUSE_MIN_S) for _ in range(3)] == [True] * 3


@pytest.mark.parametrize("is_late", [True, False])
def test_a_caller_that_goes_away_leaves_the_try_to_the_next(is_late: bool) -> None:
    breaker = broken()
    breaker.admits(PAUSE_MIN_S)
    breaker.abandoned()
    if is_late:
        # What was under way when it opened says nothing new.
        breaker.failed(PAUSE_MIN_S)

    assert breaker.admits(PAUSE_MIN_S)
