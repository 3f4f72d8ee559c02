"""Counts durations in buckets of a constant relative width, so that a day of them takes no more room than a second."""

from collections import Counter
from typing import Final

# 64 buckets for each doubling: a percentile is at most 1/64 too high, whatever its size.
_BITS: Final = 6


class Histogram:
    """Durations in microseconds. Mutable: it only fills."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.count = 0
        self._sum_s = 0.0
        self.max_s = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self._buckets[_bucket(int(seconds * 1e6))] += 1
        self.count += 1
        self._sum_s += seconds
        self.max_s = max(self.max_s, seconds)

    @property
    def mean_s(self) -> float:
        """Their mean; 0 when there are none."""
        return self._sum_s / self.count if self.count else 0.0

    def quantile_s(self, share: float) -> float:
        """Return a duration that this share did not exceed, at most 1/64 too long; 0 when there are none."""
        wanted, seen = share * self.count, 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return min(_upper_us(bucket) / 1e6, self.max_s)
        return self.max_s

    def curve(self) -> list[tuple[float, float]]:
        """Return (share, duration that it did not exceed), from the median on to the last of all, a step each time as
        many are beyond it as three quarters before."""
        points, beyond = [], 0.5
        while self.count and beyond * self.count >= 1.0:
            points.append((1.0 - beyond, self.quantile_s(1.0 - beyond)))
            beyond *= 0.75
        return points


def _bucket(us: int) -> int:
    shift = max(0, us.bit_length() - _BITS - 1)
    return (shift << _BITS) + (us >> shift)


def _upper_us(bucket: int) -> int:
    """Return the first microsecond that is beyond a bucket."""
    shift = max(0, (bucket >> _BITS) - 1)
    return (bucket - (shift << _BITS) + 1) << shift
