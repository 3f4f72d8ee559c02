"""A backend that is not there is left alone after ten requests, and looked at once a second."""

from dataclasses import replace

from router.ejections import Ejections
from tests.router.test_call_counts import CALL, V1, V2


def told(count: int) -> Ejections:
    made = Ejections()
    for _ in range(count):
        made.unreached(V2)
    return made


def test_ten_in_a_row_are_out_and_fewer_are_not() -> None:
    assert [told(9).is_out(V2, 0.0), told(9).is_out(V2, 0.1)] == [False, False]
    out = told(10)

    assert [out.is_out(V2, now) for now in (0.0, 0.1, 0.9, 1.0, 1.5)] == [False, True, True, False, True]
    assert not out.is_out(V1, 0.1)


def test_one_answer_ends_it_even_a_bad_one() -> None:
    for end in (CALL, replace(CALL, error="backend")):
        out = told(10)
        out.on_batch(end)

        assert out.unreached_in_a_row(V2) == 0
        assert not out.is_out(V2, 0.1)


def test_call_that_was_not_answered_is_counted_once_by_its_riders() -> None:
    made = told(7)
    made.on_batch(replace(CALL, riders=3, error="unavailable"))
    assert made.unreached_in_a_row(V2) == 7

    made.on_batch(replace(CALL, riders=3, error="deadline"))
    assert made.is_known_dead(V2)
