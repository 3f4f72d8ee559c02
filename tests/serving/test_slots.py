"""Which replica a batch goes to, and what makes one the last choice."""

from serving.pace import PaceLimits
from serving.slots import Slots
from tests.serving.replica import V1


def two() -> Slots:
    """Two replicas, of which the first has a batch."""
    slots = Slots(2, PaceLimits(max_rows=8, max_in_flight=2))
    slots.take(0, V1, rows=1, batch_id=1, now=0.0, alone_until=0.0)
    return slots


def test_answer_to_a_call_from_before_a_doubt_does_not_end_it() -> None:
    slots = two()
    slots.suspect(1, now=10.0, until=11.0)

    slots.answered(1, since=9.99)
    assert slots.freest(10.1, is_probe=False) == 0
    slots.answered(1, since=10.05)
    assert slots.freest(10.1, is_probe=False) == 1


def test_doubt_ends_by_itself() -> None:
    slots = two()
    slots.suspect(1, now=10.0, until=11.0)

    assert [slots.freest(now, is_probe=False) for now in (10.9, 11.0)] == [0, 1]


def test_when_all_are_in_doubt_all_are_used() -> None:
    slots = two()
    for index in (0, 1):
        slots.suspect(index, now=10.0, until=11.0)

    assert not slots.is_any_trusted(10.5)
    assert slots.freest(10.5, is_probe=False) == 1


def test_a_limit_holds_for_all_replicas_and_for_those_to_come() -> None:
    slots = Slots(1, PaceLimits(max_rows=8, max_in_flight=4))
    slots.limit(1)
    slots.add()
    assert slots.bearable == 2
    for index in (0, 1):
        slots.take(index, V1, rows=1, batch_id=index, now=0.0, alone_until=0.0)
    assert not slots.has_any_room()
    assert slots.freest(1.0, is_probe=False) is None

    slots.limit(4)

    assert slots.bearable == 8
    assert slots.has_room(0)
