"""One scrape for all processes: adds up what workers have counted, so that no counter ever goes back.

A worker that dies takes its gauges along; its counters stay, as a base that those of its successor are added to.
"""

import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.exposition import text
from router.metrics import TABLE, Declared, Series

Values: TypeAlias = tuple[float, ...]
Family: TypeAlias = dict[tuple[str, ...], Values]
Families: TypeAlias = dict[str, Family]

CONTROL: Final = "control"
"""The source of the control process's own metrics; workers have others."""

_DECODER: Final = msgspec.msgpack.Decoder(dict[str, list[Series]])


class Aggregate(Collector):
    """The sum over processes, each named by its source. May be read in a thread while it is updated.

    Mutable, under `_lock`: the last families of every live source, and the counters of those that are gone. The
    families themselves are replaced, never changed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: dict[str, Families] = {}
        self._base: Families = {}
        # What rounding left over of the base, so that a sum is the same however it came about: a counter that goes
        # back by its last digit is a restart to Prometheus, which then counts all of it again.
        self._rest: Families = {}

    def update(self, source: str, snapshot: bytes) -> None:
        """Replace what `source` has counted so far; msgspec.ValidationError if it is no snapshot.

        Should its counters have gone back, it was started again under the same name, and the old ones are kept.
        """
        families = {name: dict(series) for name, series in _DECODER.decode(snapshot).items() if name in TABLE}
        with self._lock:
            # Taken out first, so that the newest source comes last: gauges merged by "last" are its.
            lost = _lost(self._live.pop(source, {}), families)
            self._keep(lost)
            self._live[source] = families

    def retire(self, source: str) -> None:
        """Keep the counters of a source that is gone, drop its gauges; nothing happens for one that never reported."""
        with self._lock:
            self._keep(_lost(self._live.pop(source, {}), {}))

    def _keep(self, lost: Families) -> None:
        """Add counters to the base, exactly."""
        base, rest = dict(self._base), dict(self._rest)
        for name, family in lost.items():
            base[name], rest[name] = dict(base.get(name, {})), dict(rest.get(name, {}))
            for labels, values in family.items():
                parts = [part[name][labels] for part in (base, rest) if len(part[name].get(labels, ())) == len(values)]
                total = _sum([*parts, values])
                base[name][labels], rest[name][labels] = total, _sum([*parts, values, tuple(-one for one in total)])
        self._base, self._rest = base, rest

    def families(
        self, names: Iterable[str] = TABLE, newest: Mapping[str, bytes] | None = None
    ) -> Iterator[tuple[Declared, Family]]:
        """Yield every metric of the table that has a series, or these, added up.

        `newest`: snapshots by source that stand in the place of what those have reported, here alone; they need hold no
        more than these names.
        """
        with self._lock:
            live = dict(self._live)
            sources = [self._base, self._rest]
        for source, snapshot in (newest or {}).items():
            live[source] = {name: dict(series) for name, series in _DECODER.decode(snapshot).items()}
        sources += live.values()
        for name in names:
            declared = TABLE[name]
            found: dict[tuple[str, ...], list[Values]] = {}
            for families in sources:
                for labels, values in families.get(name, {}).items():
                    found.setdefault(labels, []).append(values)
            if found:
                yield declared, {labels: _merge(declared, parts) for labels, parts in found.items()}

    def collect(self, names: Iterable[str] = TABLE, newest: Mapping[str, bytes] | None = None) -> Iterator[Metric]:
        """Yield the same as prometheus_client has it."""
        for declared, family in self.families(names, newest):
            yield _metric(declared, family)


def render(aggregate: Aggregate, accept: str) -> tuple[bytes, str]:
    """Return a scrape and its content type: OpenMetrics if the Accept header asks for it, else Prometheus' text.

    Takes milliseconds with thousands of series: call it in a thread.
    """
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    if content_type.startswith("application/openmetrics-text"):
        registry.register(aggregate)
        ProcessCollector(registry=registry)
        return encode(registry), content_type
    ProcessCollector(registry=registry)
    lines = "".join(line for declared, family in aggregate.families() for line in text(declared, family))
    return lines.encode() + encode(registry), content_type


def _lost(before: Families, after: Families) -> Families:
    """Return the counters of `before` that `after` has no more, or has at a lower value."""
    lost: Families = {}
    for name, family in before.items():
        if TABLE[name].kind == "gauge":
            continue
        now = after.get(name, {})
        gone = {labels: values for labels, values in family.items() if _went_back(values, now.get(labels))}
        if gone:
            lost[name] = gone
    return lost


def _went_back(before: Values, after: Values | None) -> bool:
    return after is None or len(after) != len(before) or any(b > a for b, a in zip(before, after, strict=True))


def _merge(declared: Declared, parts: Sequence[Values]) -> Values:
    rule = declared.merge if declared.kind == "gauge" else "sum"
    if rule == "last" or len({len(values) for values in parts}) > 1:
        return parts[-1]
    if rule == "sum":
        return _sum(parts)
    return tuple((max if rule == "max" else min)(column) for column in zip(*parts, strict=True))


def _sum(parts: Sequence[Values]) -> Values:
    return tuple(math.fsum(column) for column in zip(*parts, strict=True))


def _metric(declared: Declared, family: Mapping[tuple[str, ...], Values]) -> Metric:
    metric = Metric(declared.name.removesuffix("_total"), declared.help, declared.kind)
    for values_of_labels, values in sorted(family.items()):
        labels = dict(zip(declared.labels, values_of_labels, strict=True))
        for suffix, more, value in _samples(declared, values):
            metric.add_sample(declared.name + suffix, labels | more, value)
    return metric


def _samples(declared: Declared, values: Values) -> Iterable[tuple[str, dict[str, str], float]]:
    if declared.kind != "histogram":
        return [("", {}, values[0])]
    *buckets, count, total = values
    bounds = [*map(str, declared.buckets), "+Inf"]
    return [
        *(("_bucket", {"le": bound}, value) for bound, value in zip(bounds, buckets, strict=True)),
        ("_count", {}, count),
        ("_sum", {}, total),
    ]
