"""A price moves the weights at once; a further one waits, unless it is larger."""

import msgspec
import pytest

from router.control.prices import HeldPrice, follow

HOLD_S = 600.0


def after(*prices: float, every_s: float = 60.0) -> list[float]:
    """The prices decided by when the feed says these, one a minute."""
    held: dict[str, HeldPrice] = {}
    decided = []
    for number, price in enumerate(prices):
        held = follow(held, {"a": price}, number * every_s, HOLD_S)
        decided.append(held["a"].usd_per_hour)
    return decided


def test_first_change_counts_at_once() -> None:
    assert after(1.0, 1.0, 1.5) == [1.0, 1.0, 1.5]


def test_flapping_price_moves_once_in_a_while() -> None:
    assert after(1.0, 1.5, *[1.0, 1.5] * 5, 1.0) == [1.0, *[1.5] * 11, 1.0]


def test_larger_move_does_not_wait() -> None:
    assert after(1.0, 1.1, 2.0, 1.9) == [1.0, 1.1, 2.0, 2.0]
    # And as large downwards as upwards.
    assert after(1.0, 2.0, 0.9) == [1.0, 2.0, 0.9]


def test_what_waits_counts_when_the_time_is_over() -> None:
    assert after(1.0, 2.0, *[1.5] * 10)[-2:] == [2.0, 1.5]


@pytest.mark.parametrize("prices", [(0.0, 1.0), (1.0, 0.0)])
def test_from_and_to_nothing_is_a_move(prices: tuple[float, float]) -> None:
    assert after(*prices) == list(prices)
    held = follow(follow({}, {"a": prices[0]}, 0.0, HOLD_S), {"a": prices[1]}, 1.0, HOLD_S)
    assert msgspec.json.decode(msgspec.json.encode(held), type=dict[str, HeldPrice]) == held


def test_without_a_hold_every_change_counts() -> None:
    assert follow({"a": HeldPrice(1.0, 100.0, 9.0)}, {"a": 1.01}, 100.0, 0.0)["a"].usd_per_hour == 1.01
