"""The prices decided by: a change reaches the weights at once, a further one waits, unless it is larger.

Feeds flap, and every move of the weights has its price in cold caches and new blocks (design §9).
"""

import math
from collections.abc import Mapping
from typing import Final

import msgspec

# There and back again are equally far, but for the last digits of a logarithm.
_ROUNDING: Final = 1e-9


class HeldPrice(msgspec.Struct, frozen=True):
    """The price decided by, since when (unix s; None: it has never moved), and how far it moved then, as a log."""

    usd_per_hour: float
    moved_at: float | None = None
    step: float = 0.0


def follow(
    held: Mapping[str, HeldPrice], prices_usd_per_hour: Mapping[str, float], now: float, hold_s: float
) -> dict[str, HeldPrice]:
    """Return the prices to decide by from now on, for every key that has a price."""
    return {key: _followed(held.get(key), price, now, hold_s) for key, price in prices_usd_per_hour.items()}


def _followed(held: HeldPrice | None, price: float, now: float, hold_s: float) -> HeldPrice:
    if held is None:
        return HeldPrice(price)
    step = _distance(held.usd_per_hour, price)
    if step == 0.0:
        return held
    # A clock that was set back holds nothing for longer.
    is_free = held.moved_at is None or not 0.0 <= now - held.moved_at < hold_s
    is_larger = step > held.step * (1.0 + _ROUNDING)
    return HeldPrice(price, now, step) if is_free or is_larger else held


def _distance(before: float, after: float) -> float:
    """Return |log(after / before)|; from or to nothing is further than anything finite, and JSON can carry it."""
    if before == after:
        return 0.0
    if min(before, after) <= 0.0:
        return 1e9
    return abs(math.log(after / before))
