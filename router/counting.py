"""Counters and histograms for the way of a request, read by prometheus_client as any other metric.

Its own take a lock and check what can't be wrong here: .68 µs to find a series by two labels, .25 µs to count, .57 µs to
observe, against .07, .03 and .11 µs of these (the lowest of 5 x 100,000 by timeit). Each series is counted in one thread
only; any thread may collect.
"""

import abc
import bisect
import math
from collections.abc import Iterator, Sequence
from typing import Generic, Literal, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

__all__ = ["Counter", "Histogram"]


class _Count:
    """One series of a counter. Mutable: what was counted, which only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Count so many more, at least 0."""
        self.value += amount

    def samples(self, bounds: Sequence[float]) -> Iterator[tuple[str, dict[str, str], float]]:
        yield "_total", {}, self.value


class _Spread:
    """One series of a histogram. Mutable: observations by the bucket they fall in, and their sum."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * len(bounds)
        self.total = 0.0

    def observe(self, amount: float) -> None:
        """Count an amount in the first bucket whose bound is not below it."""
        self.total += amount
        self.counts[bisect.bisect_left(self._bounds, amount)] += 1

    def samples(self, bounds: Sequence[float]) -> Iterator[tuple[str, dict[str, str], float]]:
        count = 0
        for bound, some in zip(bounds, list(self.counts), strict=True):
            count += some
            yield "_bucket", {"le": "+Inf" if math.isinf(bound) else str(bound)}, count
        yield "_count", {}, count
        yield "_sum", {}, self.total


_Kept = TypeVar("_Kept", _Count, _Spread)


class _Family(Collector, Generic[_Kept]):
    """A metric with its series by their labels. Bounded by the names that labels may have; nothing is ever removed."""

    kind: Literal["counter", "histogram"]

    def __init__(
        self,
        name: str,
        help_: str,
        labels: Sequence[str],
        *,
        registry: CollectorRegistry,
        buckets: Sequence[float] = (),
    ) -> None:
        self._name, self._help, self._labels = name, help_, tuple(labels)
        self._bounds = (*buckets, math.inf)
        self._series: dict[tuple[str, ...], _Kept] = {}
        if not labels:
            self.labels()
        registry.register(self)

    @abc.abstractmethod
    def _new(self) -> _Kept:
        """Make a series in which nothing is counted yet."""

    def labels(self, *values: str) -> _Kept:
        """Return the series of these labels; from now on it is shown, if only at 0. ValueError if there are too few."""
        try:
            return self._series[values]
        except KeyError:
            if len(values) != len(self._labels):
                raise ValueError(f"{self._name} has the labels {self._labels}, got {values}") from None
            return self._series.setdefault(values, self._new())

    def describe(self) -> Iterator[Metric]:
        """Yield the metric without series, so that a registry refuses a second one of its name."""
        yield Metric(self._name.removesuffix("_total"), self._help, self.kind)

    def collect(self) -> Iterator[Metric]:
        """Yield the metric with all its series."""
        metric = Metric(self._name.removesuffix("_total"), self._help, self.kind)
        for values, series in list(self._series.items()):
            labels = dict(zip(self._labels, values, strict=True))
            for suffix, more, value in series.samples(self._bounds):
                metric.add_sample(metric.name + suffix, labels | more, value)
        yield metric


class Counter(_Family[_Count]):
    """A counter, whose name ends in _total."""

    kind = "counter"

    def _new(self) -> _Count:
        return _Count()

    def inc(self, amount: float = 1.0) -> None:
        """Count, where there are no labels."""
        self.labels().inc(amount)


class Histogram(_Family[_Spread]):
    """A histogram; `buckets` are its upper bounds, to which infinity is added."""

    kind = "histogram"

    def _new(self) -> _Spread:
        return _Spread(self._bounds)

    def observe(self, amount: float) -> None:
        """Count an amount, where there are no labels."""
        self.labels().observe(amount)
