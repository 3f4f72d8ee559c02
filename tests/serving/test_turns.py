"""Whether calls wait for one another, and until when the next one is kept."""

import pytest

from serving.turns import Turns


def in_turn() -> Turns:
    turns = Turns()
    for _ in range(8):
        turns.ended(in_turn_error_s=0.001, apart_error_s=0.01, now=0.0)
    return turns


def test_nothing_is_kept_before_it_is_known_that_calls_wait_for_one_another() -> None:
    turns = Turns()
    for _ in range(7):
        turns.ended(in_turn_error_s=0.001, apart_error_s=0.01, now=0.0)
    turns.sent(1, 0.04, now=1.0)
    assert turns.kept_until(way_s=0.0) == float("-inf")

    turns.ended(in_turn_error_s=0.001, apart_error_s=0.01, now=0.0)
    assert turns.kept_until(way_s=0.0) == pytest.approx(1.03)


def test_what_explains_the_calls_no_better_changes_nothing() -> None:
    turns = in_turn()
    for _ in range(100):
        turns.ended(in_turn_error_s=0.001, apart_error_s=0.0011, now=0.0)

    assert turns.in_turn


def test_a_device_that_runs_calls_beside_each_other_is_sent_them_at_once() -> None:
    turns = in_turn()
    for _ in range(100):
        turns.ended(in_turn_error_s=0.01, apart_error_s=0.001, now=0.0)
    turns.sent(1, 0.04, now=1.0)

    assert turns.kept_until(way_s=0.0) == float("-inf")


def test_the_next_is_on_its_way_before_the_one_under_way_is_back() -> None:
    turns = in_turn()
    turns.sent(1, 0.04, now=1.0)

    # It is sent a quarter of the call early, and arrives when the answer leaves, wherever the backend is.
    assert turns.kept_until(way_s=0.02) == pytest.approx(1.03)


def test_a_call_that_was_sent_ahead_is_expected_from_when_the_one_before_it_came_back() -> None:
    turns = in_turn()
    turns.sent(1, 0.04, now=1.0)
    turns.sent(2, 0.04, now=1.03)
    assert turns.kept_until(way_s=0.0) == float("-inf")

    turns.ended(0.001, 0.01, now=1.042)
    turns.left(1)
    assert turns.kept_until(way_s=0.0) == pytest.approx(1.072)


def test_nothing_is_kept_for_an_idle_replica() -> None:
    turns = in_turn()
    turns.sent(1, 0.04, now=1.0)
    turns.left(1)

    assert turns.kept_until(way_s=0.0) == float("-inf")
