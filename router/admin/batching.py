"""How requests are batched for each backend, out of what all processes of this gateway have counted."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from router.metrics import PREFIX, Metrics

_UNDER_WAY: Final = f"{PREFIX}batches_in_flight"
_SLOTS: Final = f"{PREFIX}batch_slots"
_LIMIT: Final = f"{PREFIX}batch_limit_rows"
_ROWS: Final = f"{PREFIX}batch_rows"
NAMES: Final = (_UNDER_WAY, _SLOTS, _LIMIT, _ROWS)
"""The metrics that are read: few of all there are."""


def batching(families: Iterable[Metric]) -> dict[str, dict[str, Any]]:
    """Return by backend: calls under way, how many may be (`slots`), batches and their rows since the processes began, and
    how many rows a batch of each version may have. Null while nothing was sent."""
    found: defaultdict[str, dict[str, Any]] = defaultdict(nothing)
    for family in families:
        for sample in family.samples:
            if "backend" not in sample.labels:
                continue
            backend = found[sample.labels["backend"]]
            match sample.name:
                case name if name == _UNDER_WAY:
                    backend["in_flight"] = int(sample.value)
                case name if name == _SLOTS:
                    backend["slots"] = int(sample.value)
                case name if name == f"{_ROWS}_count":
                    backend["batches"] = int(sample.value)
                case name if name == f"{_ROWS}_sum":
                    backend["rows"] = int(sample.value)
                case name if name == _LIMIT:
                    model, version = sample.labels["model"], sample.labels["version"]
                    backend["limits"].append({"model": model, "version": version, "rows_max": int(sample.value)})
    return dict(found)


def registry_of(metrics: Metrics) -> CollectorRegistry:
    """Return a registry of a process's own metrics among these."""
    registry = CollectorRegistry()
    for one in (metrics.batches_in_flight, metrics.batch_slots, metrics.batch_limit_rows, metrics.batch_rows):
        registry.register(one)
    return registry


def nothing() -> dict[str, Any]:
    """Return what is known of a backend that was sent nothing."""
    return {"in_flight": None, "slots": None, "batches": 0, "rows": 0, "limits": []}
