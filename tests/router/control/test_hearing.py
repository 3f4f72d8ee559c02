"""A gateway whose heartbeat stands still is not heard."""

from router.control.hearing import UNHEARD_S, Hearing
from router.heartbeat import Heartbeat


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


def test_gateway_that_is_gone_is_not_missed_and_an_older_version_is_believed() -> None:
    hearing = Hearing()
    hearing.unheard(beats(a=1), 0.0)

    assert hearing.unheard({}, 10.0) == []
    assert hearing.unheard(beats(old=0), 20.0) == []
