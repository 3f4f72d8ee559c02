"""Durations in buckets: what is read out of them is what went in, within a bucket."""

import math

from hypothesis import given
from hypothesis import strategies as st

from load.generate.histogram import Histogram


@given(st.lists(st.floats(1e-6, 100.0), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_quantile_is_at_most_a_64th_too_long(seconds: list[float], share: float) -> None:
    histogram = Histogram()
    for one in seconds:
        histogram.add(one)
    exact = sorted(seconds)[math.ceil(share * len(seconds)) - 1]

    # A microsecond is the smallest unit.
    assert exact - 1e-6 <= histogram.quantile_s(share) <= exact * (1 + 1 / 64) + 1e-6
    assert histogram.max_s == max(seconds)


def test_nothing_counted_is_nothing() -> None:
    histogram = Histogram()

    assert (histogram.count, histogram.mean_s, histogram.quantile_s(0.5)) == (0, 0.0, 0.0)
