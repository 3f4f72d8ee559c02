"""What a price feed says of one backend, and what of it is believed: pure, told the price and the time.

A price that could not be read leaves the last one in force. A step beyond `STEP_MAX` is rather a slipped decimal point
than a market: it waits for an operator. Either is said, and while it lasts nothing is retired.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import msgspec

# Spot prices of one machine type differ by less within a day (design §9); a slipped unit is 10, 60 or 1000.
STEP_MAX: Final = 3.0
# No machine costs more an hour: a number beyond is another unit.
USD_PER_HOUR_MAX: Final = 100_000.0
# Room for ten thousand prices.
FEED_BYTES_MAX: Final = 2**20


@dataclass(frozen=True, slots=True)
class Quote:
    """A backend's price: the one in force (None: never known), when it was last read (seconds of a clock that never
    jumps), the one that waits for an operator, and why the last reading failed (empty: it did not)."""

    usd_per_hour: float | None = None
    read_at: float | None = None
    waiting_usd_per_hour: float | None = None
    error: str = ""


def told(quote: Quote, usd_per_hour: float, now: float) -> Quote:
    """Take over a price that was read."""
    if quote.usd_per_hour is not None and _is_beyond(quote.usd_per_hour, usd_per_hour):
        return replace(quote, read_at=now, waiting_usd_per_hour=usd_per_hour, error="")
    return Quote(usd_per_hour, now)


def failed(quote: Quote, why: str) -> Quote:
    """Keep the price; note why no newer one was read."""
    return replace(quote, error=why)


def remembered(quote: Quote, usd_per_hour: float) -> Quote:
    """Take over the price that was in force before this process began; a step from it waits like any other."""
    if quote.usd_per_hour is None:
        return replace(quote, usd_per_hour=usd_per_hour)
    if quote.waiting_usd_per_hour is None and _is_beyond(usd_per_hour, quote.usd_per_hour):
        return replace(quote, usd_per_hour=usd_per_hour, waiting_usd_per_hour=quote.usd_per_hour)
    return quote


def accepted(quote: Quote, usd_per_hour: float) -> tuple[Quote, bool]:
    """Put the price that waits into force if an operator's word on `usd_per_hour` covers it: from there it is no step.

    Returned beside it is whether that word has been heard; it has not while no price was read yet.
    """
    waiting = quote.waiting_usd_per_hour
    if waiting is None:
        return quote, quote.read_at is not None
    if _is_beyond(usd_per_hour, waiting):
        return quote, True
    return replace(quote, usd_per_hour=waiting, waiting_usd_per_hour=None), True


def led(quote: Quote, usd_per_hour: float | None, waiting_usd_per_hour: float | None) -> Quote:
    """Take over what the leader holds where a price waits, there or here: only one gateway can be asked to wait."""
    if waiting_usd_per_hour is None and quote.waiting_usd_per_hour is None:
        return quote
    return replace(quote, usd_per_hour=usd_per_hour, waiting_usd_per_hour=waiting_usd_per_hour)


def is_stale(quote: Quote, now: float, max_age_s: float) -> bool:
    """Whether the price in force was last confirmed too long ago, or never since this process began."""
    return quote.read_at is None or now - quote.read_at > max_age_s


def warning(backend: str, quote: Quote, now: float, max_age_s: float) -> str:
    """Return why nothing should be retired on this price, in words; empty when it can be relied on."""
    why = f": {quote.error}" if quote.error else ""
    if quote.usd_per_hour is None:
        return f"the price of backend {backend} is not known yet{why}"
    if quote.waiting_usd_per_hour is not None:
        before, after = quote.usd_per_hour, quote.waiting_usd_per_hour
        step = f"from ${before:g} to ${after:g} an hour is a step beyond {STEP_MAX:g}x"
        return f"the price of backend {backend} waits for an operator: {step}"
    if is_stale(quote, now, max_age_s):
        age = "since this gateway began" if quote.read_at is None else f"for {now - quote.read_at:.0f} s"
        return f"the price of backend {backend} is stale: not read {age}{why}"
    return ""


def price_in(raw: bytes, key: str) -> float:
    """Return the price at `key` of a feed, a JSON object of dollars an hour; ValueError says what is wrong with it."""
    if len(raw) > FEED_BYTES_MAX:
        raise ValueError(f"it has more than {FEED_BYTES_MAX} bytes")
    try:
        prices = msgspec.json.decode(raw, type=dict[str, object])
    except msgspec.MsgspecError as error:
        raise ValueError(f"it is no JSON object of prices: {error}") from None
    if key not in prices:
        raise ValueError(f"it has no key {key!r}")
    price = prices[key]
    if isinstance(price, bool) or not isinstance(price, int | float):
        raise ValueError(f"{key!r} must be a number of dollars an hour, got {type(price).__name__}")
    if not 0.0 <= price <= USD_PER_HOUR_MAX:
        raise ValueError(f"{key!r} must be in 0..{USD_PER_HOUR_MAX:g} dollars an hour, got {price:g}")
    return float(price)


def _is_beyond(before: float, after: float) -> bool:
    """Whether a step is too large, up or down; from or to nothing always is, unless nothing changes."""
    if min(before, after) <= 0.0:
        return before != after
    return max(before, after) / min(before, after) > STEP_MAX * (1.0 + 1e-9) or not math.isfinite(after)
