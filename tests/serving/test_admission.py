"""Who may wait, and what is refused while more comes than can be answered."""

from dataclasses import replace

import pytest

from serving.admission import Admission
from serving.batcher import BatchLimits, Rider
from serving.errors import Overloaded, QueueFull
from serving.upstream import Servable
from tests.serving.device import V1, Device, Play

LIMITS = BatchLimits(
    max_rows=64, max_in_flight=8, queue_rows=4096, queue_bytes=10**9, latency_s=0.08, is_in_flight_learned=True
)


def rows_at_300(rows: int, now: float) -> float:
    """Almost all of the time is the rows': 300 a second is what it can do at most."""
    return 0.002 + rows / 300


def rider(number: int, client: str | None, rows: int = 1) -> Rider:
    return Rider(number, "key", V1, rows, 1, 100.0, client=client)


def test_names_without_end_do_not_keep_those_that_are_known_from_waiting() -> None:
    admission, lines = Admission(LIMITS), [Servable("tfs", f"made up {number}", None) for number in range(512)]
    unknown = rider(1, "a")._replace(servable=Servable("tfs", "one more", None))

    with pytest.raises(QueueFull, match="requests for 512 models wait"):
        admission.let_in(unknown, 0.0, 0.0, lines)
    admission.let_in(unknown._replace(servable=lines[7]), 0.0, 0.0, lines)
    admission.answered(unknown.servable)
    admission.let_in(unknown, 0.0, 0.0, lines)
    admission.expect(lambda servable: servable == V1)
    admission.let_in(rider(2, "b"), 0.0, 0.0, lines)
    assert admission.rows == 3


def test_what_was_answered_is_remembered_within_bounds() -> None:
    admission = Admission(LIMITS)
    for number in range(1_001):
        admission.answered(Servable("tfs", "m", number))
        admission.answered(V1)

    assert len(admission._known) == 1_000
    assert V1 in admission._known


def test_five_times_as_much_as_can_be_answered_costs_hardly_any_of_it() -> None:
    play = Play(Device(rows_at_300), LIMITS)
    play.closed_loop(16, 10.0)
    peak = play.rate(since=2.0)
    play.open_loop(1500.0, 20.0)
    since = play.now - 18.0
    accepted = sorted(took for when, took in play.done if when >= since)

    assert play.rate(since) >= 0.9 * peak
    assert accepted[int(0.99 * len(accepted))] <= 0.08
    assert len(play.shed) > 0.7 * 1500 * 18


def test_clients_that_wait_for_their_answers_are_no_flood() -> None:
    play = Play(Device(lambda rows, now: 0.02 + 0.00025 * rows), LIMITS)
    play.closed_loop(256, 20.0)

    # They wait 144 ms, more than is wished, and each for its own answer.
    assert play.shed == []


def test_a_burst_is_worked_off() -> None:
    play = Play(Device(lambda rows, now: 0.02 + 0.00025 * rows), LIMITS)
    play.closed_loop(64, 5.0)
    play.open_loop(100_000.0, 0.008)
    play.open_loop(1.0, 2.0)

    assert play.shed == []


def test_after_a_flood_all_are_let_in_again() -> None:
    play = Play(Device(rows_at_300), LIMITS)
    play.closed_loop(16, 5.0)
    play.open_loop(1500.0, 5.0)
    play.open_loop(100.0, 3.0)
    shed = len(play.shed)
    play.open_loop(100.0, 5.0)

    assert len(play.shed) == shed


def test_a_client_that_floods_leaves_room_for_others() -> None:
    admission = Admission(replace(LIMITS, queue_rows=80))
    for number in range(70):
        admission.let_in(rider(number, "flood"), 0.0, 0.0)
    with pytest.raises(QueueFull, match="queue_rows=80: 70 rows wait"):
        admission.let_in(rider(70, "flood"), 0.0, 0.0)
    for number in range(10):
        admission.let_in(rider(100 + number, "other"), 0.0, 0.0)

    assert admission.rows == 80


def test_in_a_flood_who_has_less_than_others_is_let_in() -> None:
    admission = Admission(LIMITS)
    for number in range(100):
        admission.let_in(rider(number, "flood"), 0.0, 0.0)
    assert not admission.begins_flood(4.1, 0.0)
    assert admission.begins_flood(4.1, 0.4)

    with pytest.raises(Overloaded, match="100 rows wait"):
        admission.let_in(rider(200, "flood"), 2.0, 0.5)
    admission.let_in(rider(201, "other"), 2.0, 0.5)
    with pytest.raises(Overloaded):
        admission.let_in(rider(202, "flood"), 2.0, 1.4)
    # A second after the last refusal it is over.
    admission.let_in(rider(203, "flood"), 2.0, 2.5)


def test_what_left_is_not_counted() -> None:
    admission = Admission(LIMITS)
    one = rider(1, "a", 5)
    admission.let_in(one, 0.0, 0.0)
    admission.leave(one)

    assert (admission.rows, admission.size_bytes, dict(admission._rows_of)) == (0, 0, {})
