"""Traffic between two scrapes of `/metrics`: rates, latencies and errors, as `turpin top` shows them."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeAlias

# Labels of requests that failed through no fault of the client: those of the dashboards.
FAULTS: Final = frozenset({"unavailable", "internal", "deadline", "backend", "unknown"})
_TAKEN: Final = frozenset({"recorded", "spooled"})
_HOUR_S: Final = 3600.0

Sample: TypeAlias = tuple[str, Mapping[str, str], float]


@dataclass(frozen=True, slots=True)
class Scrape:
    """One scrape: when it was read (s of any one clock), and its samples."""

    at: float
    samples: tuple[Sample, ...]

    @classmethod
    def read(cls, at: float, text: str) -> "Scrape":
        """Read Prometheus' text format; ValueError for what is none."""
        from prometheus_client.parser import text_string_to_metric_families

        families = text_string_to_metric_families(text)
        return cls(at, tuple((one.name, one.labels, one.value) for family in families for one in family.samples))

    def by(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Return the sums of a metric by some of its labels."""
        found: defaultdict[tuple[str, ...], float] = defaultdict(float)
        for sample, of, value in self.samples:
            if sample == name:
                found[tuple(of.get(label, "") for label in labels)] += value
        return dict(found)

    def one(self, name: str) -> float | None:
        """Return the value of a metric without labels; None where there is none, or it is not known."""
        value = self.by(name).get(())
        return None if value is None or not math.isfinite(value) else value


@dataclass(frozen=True, slots=True)
class BackendTraffic:
    """What goes to a backend: calls a second and how many are under way, rows in each, ejections since its start."""

    calls_per_s: float
    calls_in_flight: float
    rows_per_call: float | None
    ejections: float


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one gateway did within `seconds`, a second; times are in s, None where nothing was answered."""

    seconds: float
    requests_per_s: float
    by_code_per_s: Mapping[str, float]
    error_ratio: float | None
    shed_per_s: float
    retries_per_s: float
    rewards_per_s: float
    rewards_refused_per_s: float
    p50_s: float | None
    p99_s: float | None
    overhead_p99_s: float | None
    billed_usd_per_hour: float
    store_up: float | None
    backends: Mapping[str, BackendTraffic]

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def between(before: Scrape, after: Scrape) -> Traffic | None:
    """Return what happened between two scrapes; None if there was no time, or the gateway was started again since."""
    seconds = after.at - before.at
    if seconds <= 0.0 or _went_back(before, after):
        return None
    codes = {code: count for (code,), count in _grown(before, after, "turpin_requests_total", "code").items()}
    rewards = {result: count for (result,), count in _grown(before, after, "turpin_rewards_total", "result").items()}
    requests = sum(codes.values())
    taken = sum(count for result, count in rewards.items() if result in _TAKEN)
    refused = sum(rewards.values()) - taken - rewards.get("duplicate", 0.0)
    faults = sum(count for code, count in codes.items() if code in FAULTS)
    latency = _buckets(before, after, "turpin_request_duration_seconds_bucket")
    return Traffic(
        seconds=seconds,
        requests_per_s=requests / seconds,
        by_code_per_s={code: count / seconds for code, count in sorted(codes.items()) if count},
        error_ratio=faults / requests if requests else None,
        shed_per_s=_sum(before, after, "turpin_shed_total") / seconds,
        retries_per_s=_sum(before, after, "turpin_retries_total") / seconds,
        rewards_per_s=taken / seconds,
        rewards_refused_per_s=refused / seconds,
        p50_s=quantile(0.5, latency),
        p99_s=quantile(0.99, latency),
        overhead_p99_s=quantile(0.99, _buckets(before, after, "turpin_overhead_seconds_bucket")),
        billed_usd_per_hour=_sum(before, after, "turpin_cost_usd_total") / seconds * _HOUR_S,
        store_up=after.one("turpin_store_up"),
        backends=_backends(before, after, seconds),
    )


def _backends(before: Scrape, after: Scrape, seconds: float) -> dict[str, BackendTraffic]:
    calls = _grown(before, after, "turpin_batch_rows_count", "backend")
    rows = _grown(before, after, "turpin_batch_rows_sum", "backend")
    under_way = after.by("turpin_batches_in_flight", "backend")
    ejections = after.by("turpin_backend_ejections_total", "backend")
    return {
        key[0]: BackendTraffic(
            calls_per_s=calls.get(key, 0.0) / seconds,
            calls_in_flight=under_way.get(key, 0.0),
            rows_per_call=rows.get(key, 0.0) / calls[key] if calls.get(key) else None,
            ejections=ejections.get(key, 0.0),
        )
        for key in sorted({*calls, *under_way})
    }


def _went_back(before: Scrape, after: Scrape) -> bool:
    was, now = (scrape.by("turpin_requests_total", "front", "code") for scrape in (before, after))
    return any(now.get(key, 0.0) < count for key, count in was.items())


def _grown(before: Scrape, after: Scrape, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    was = before.by(name, *labels)
    return {key: max(0.0, count - was.get(key, 0.0)) for key, count in after.by(name, *labels).items()}


def _sum(before: Scrape, after: Scrape, name: str) -> float:
    return sum(_grown(before, after, name).values())


def _buckets(before: Scrape, after: Scrape, name: str) -> list[tuple[float, float]]:
    """Return the bounds of a histogram with what came up to each."""
    grown = _grown(before, after, name, "le")
    return sorted((float(bound), count) for (bound,), count in grown.items())


def quantile(share: float, buckets: Sequence[tuple[float, float]]) -> float | None:
    """Return a quantile of cumulative buckets, in a straight line within one, as Prometheus does; None without any.

    What lies in the last bucket, which has no end, is given as the bound before it.
    """
    if not buckets or buckets[-1][1] <= 0.0:
        return None
    rank = share * buckets[-1][1]
    start, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= rank:
            # Whatever is before has less than the rank, so something is in this one.
            return start if math.isinf(bound) else start + (bound - start) * (rank - below) / (count - below)
        start, below = bound, count
    return start
