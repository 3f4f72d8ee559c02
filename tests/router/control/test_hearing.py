"""A gateway whose heartbeat stands still is not heard."""

import pytest

from router.control.hearing import UNHEARD_MAX_S, UNHEARD_S, Hearing, patience_s
from router.heartbeat import Heartbeat
from router.sync import SYNC_S


def beats(**numbers: int) -> dict[str, Heartbeat]:
    return {name: Heartbeat({}, number=number) for name, number in numbers.items()}


def test_gateway_is_heard_while_its_number_grows() -> None:
    hearing = Hearing()
    # Whether one that was just met still lives nobody knows yet.
    assert hearing.unheard(beats(a=7), 10.0) == ["a"]

    assert hearing.unheard(beats(a=11), 11.0) == []
    assert hearing.unheard(beats(a=11), 11.0 + UNHEARD_S / 2) == []
    assert hearing.unheard(beats(a=11), 11.0 + UNHEARD_S) == ["a"]
    assert hearing.unheard(beats(a=12, b=1), 13.0) == ["b"]


@pytest.mark.parametrize("exchange_s", [0.0, 0.15, 0.75, 1.2])
def test_gateway_far_from_its_store_is_heard_and_missed_when_it_goes(exchange_s: float) -> None:
    """Both pause between exchanges; what one says is in the store after half of an exchange, and read as late."""
    hearing, number, sent_at, looks = Hearing(), 0, 0.0, 0
    dies_at, missed_at = 60.0, 0.0
    now, beat = 5.0, Heartbeat({})
    while not missed_at:
        while sent_at + SYNC_S + exchange_s <= min(now - exchange_s, dies_at):
            sent_at += SYNC_S + exchange_s
            number += 1
        beat = Heartbeat({}, number=number, exchange_s=exchange_s)
        found, looks = hearing.unheard({"far": beat}, now), looks + 1
        if now < dies_at:
            assert bool(found) == (looks == 1)
        elif found:
            missed_at = now
        now += 1.0

    # Beside what it is given: what is on its way, the look that finds the last one, and the one that misses the next.
    assert missed_at - dies_at <= patience_s(beat) + 2.0 + 2 * exchange_s


def test_nobody_is_believed_for_longer_than_a_store_may_take() -> None:
    assert patience_s(Heartbeat({}, exchange_s=60.0)) == UNHEARD_MAX_S


def test_gateway_that_is_gone_is_not_missed_and_an_older_version_is_believed() -> None:
    hearing = Hearing()
    hearing.unheard(beats(a=1), 0.0)

    assert hearing.unheard({}, 10.0) == []
    assert hearing.unheard(beats(old=0), 20.0) == []
