"""Every Prometheus metric of the gateway, in one table: name, labels, unit, and how processes are added up.

Each process has one registry of its own; workers send `snapshot`s to the control process, which serves the sum
(router/aggregate.py). Labels come from registered names only: whatever clients make up is folded to "other".
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, TypeVar

import msgspec
from prometheus_client import CollectorRegistry, Gauge

from router.counting import Counter, Histogram
from router.version import installed_version
from serving.calls import BatchRecord
from serving.errors import DeadlineExceeded, Overloaded, QueueFull, ServingError
from serving.upstream import Servable

PREFIX: Final = "turpin_"
OTHER: Final = "other"
# A process keeps series for this many servables: as many as an experiment may have arms. Each costs a snapshot 80 µs.
SERVABLES_MAX: Final = 64
ARM_STATES: Final = ("pending", "warming", "eligible", "quarantined", "draining", "standby", "retired")
PHASES: Final = ("draft", "warmup", "running", "confirming", "draining", "concluded", "archived", "paused")

# From a model that takes 1 ms to the default deadline of 30 s.
_REQUEST_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# What the gateway itself takes: below 1 ms when all is well.
_OVERHEAD_S: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5)
_ROWS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
# From an instant answer to a conversion a week later.
_DELAY_S: Final = (0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0, 86400.0, 259200.0, 604800.0)

# (values of the labels, values): one value, or a histogram's cumulative buckets, count and sum.
Series: TypeAlias = tuple[tuple[str, ...], tuple[float, ...]]
AnyMetric = TypeVar("AnyMetric", Counter, Gauge, Histogram)


@dataclass(frozen=True, slots=True)
class Declared:
    """One metric. `merge` says what the gauges of several processes make together; counters always add up."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    merge: Literal["sum", "max", "min", "last"] = "sum"


def _counter(name: str, help_: str, *labels: str) -> Declared:
    return Declared(PREFIX + name, "counter", help_, labels)


def _gauge(name: str, help_: str, *labels: str, merge: Literal["sum", "max", "min", "last"] = "last") -> Declared:
    return Declared(PREFIX + name, "gauge", help_, labels, merge=merge)


def _histogram(name: str, help_: str, buckets: tuple[float, ...], *labels: str) -> Declared:
    return Declared(PREFIX + name, "histogram", help_, labels, buckets)


_ARM: Final = ("experiment", "arm")
_SEGMENT: Final = ("experiment", "segment")
TABLE: Final[Mapping[str, Declared]] = {
    declared.name: declared
    for declared in (
        _gauge("build_info", "1; the label is the version of Turpin.", "version", merge="max"),
        _counter("requests_total", "Requests answered, by front and code.", "front", "code"),
        _histogram("request_duration_seconds", "From a request's arrival to its answer.", _REQUEST_S, "front"),
        _histogram("overhead_seconds", "What the gateway adds to the backend's time and the queue.", _OVERHEAD_S),
        _histogram("backend_duration_seconds", "Upstream calls.", _REQUEST_S, "backend", "model", "version", "code"),
        _counter("decisions_total", "Requests by the arm that was chosen, and why.", *_ARM, "mode"),
        _counter("shadow_requests_total", "Requests to be copied to an arm, by what became of it.", *_ARM, "result"),
        _counter("captures_total", "Requests looked at for a capture, by what became of it.", "experiment", "result"),
        _histogram("shadow_duration_seconds", "Calls of copies that were answered.", _REQUEST_S, *_ARM),
        _counter("segment_decisions_total", "Requests by their segment; other: none of the declared.", *_SEGMENT),
        _counter("rewards_total", "Rewards by what became of them; a call refused unread counts once.", "result"),
        _histogram("reward_delay_seconds", "From a decision to its reward.", _DELAY_S, "experiment"),
        _gauge("pending_rewards", "Decisions without a reward whose window has not passed.", *_ARM),
        _gauge("arm_weight_ratio", "Share of the traffic an arm gets.", *_ARM),
        _gauge("arm_best_probability_ratio", "Probability that an arm earns most.", *_ARM),
        _gauge("arm_value_usd", "Value per prediction: worth of the reward less cost.", *_ARM),
        _gauge("segment_arm_weight_ratio", "Share of a segment's traffic an arm gets.", *_SEGMENT, "arm"),
        _gauge("segment_arm_value_usd", "Value per prediction in a segment.", *_SEGMENT, "arm"),
        _gauge("arm_state", "1 for the state an arm is in, 0 for the others.", *_ARM, "state"),
        _gauge("experiment_phase", "1 for the phase an experiment is in, 0 for the others.", "experiment", "phase"),
        _gauge(
            "experiment_value_remaining_ratio",
            "95 % quantile of what more experimenting could find, as a share of the leader's value.",
            "experiment",
        ),
        _gauge("experiment_evidence_log", "Log of the evidence that an arm is not better than the leader.", *_ARM),
        _counter(
            "cost_usd_total",
            "Money billed, by kind: busy, idle (by the leading gateway), egress, shadow.",
            *_ARM,
            "kind",
        ),
        _gauge("prediction_cost_usd", "Cost per prediction by which arms are compared.", *_ARM),
        _gauge("price_usd_per_hour", "Price of one replica.", "backend", merge="max"),
        _histogram("batch_rows", "Rows per upstream call.", _ROWS, "backend"),
        _histogram("batch_wait_seconds", "Time of requests in the queue.", _OVERHEAD_S, "backend"),
        _gauge("batches_in_flight", "Upstream calls under way.", "backend", merge="sum"),
        _gauge("batch_slots", "Upstream calls that may be under way at once, as learned.", "backend", merge="sum"),
        _gauge(
            "batch_limit_rows", "Rows that a batch may have, as learned.", "backend", "model", "version", merge="min"
        ),
        _counter("shed_total", "Requests refused to keep within bounds.", "reason"),
        _counter("deadline_exceeded_total", "Requests whose time ran out, by where they were then.", "stage"),
        _counter("backend_ejections_total", "Replicas that got no more calls, as they did not answer.", "backend"),
        _counter("retries_total", "Requests sent a second time.", "experiment"),
        _counter("journal_dropped_total", "Lines the journal lost, by why.", "reason"),
        _counter("spool_rewards_total", "Rewards that left the spool, by what became of them in the store.", "result"),
        _gauge("spool_bytes", "Rewards that wait for the store, in files of this machine.", merge="sum"),
        _gauge("store_up", "1 while the store answers.", merge="min"),
        _gauge("snapshot_age_seconds", "Age of the weights in use.", "experiment", merge="max"),
    )
}


class Metrics:
    """The metrics of one process. Mutable, as counters are; all of it is in `registry`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.servables = Names(SERVABLES_MAX)
        self._build_info = self._make(Gauge, "build_info")
        self._build_info.labels(installed_version()).set(1)
        self.requests = self._make(Counter, "requests_total")
        self.request_seconds = self._make(Histogram, "request_duration_seconds")
        self.overhead_seconds = self._make(Histogram, "overhead_seconds")
        self.backend_seconds = self._make(Histogram, "backend_duration_seconds")
        self.decisions = self._make(Counter, "decisions_total")
        self.shadow_requests = self._make(Counter, "shadow_requests_total")
        self.captures = self._make(Counter, "captures_total")
        self.shadow_seconds = self._make(Histogram, "shadow_duration_seconds")
        self.segment_decisions = self._make(Counter, "segment_decisions_total")
        self.rewards = self._make(Counter, "rewards_total")
        self.reward_delay_seconds = self._make(Histogram, "reward_delay_seconds")
        self.pending_rewards = self._make(Gauge, "pending_rewards")
        self.arm_weight = self._make(Gauge, "arm_weight_ratio")
        self.arm_best_probability = self._make(Gauge, "arm_best_probability_ratio")
        self.arm_value_usd = self._make(Gauge, "arm_value_usd")
        self.segment_arm_weight = self._make(Gauge, "segment_arm_weight_ratio")
        self.segment_arm_value_usd = self._make(Gauge, "segment_arm_value_usd")
        self.arm_state = self._make(Gauge, "arm_state")
        self.experiment_phase = self._make(Gauge, "experiment_phase")
        self.experiment_value_remaining = self._make(Gauge, "experiment_value_remaining_ratio")
        self.experiment_evidence_log = self._make(Gauge, "experiment_evidence_log")
        self.cost_usd = self._make(Counter, "cost_usd_total")
        self.prediction_cost_usd = self._make(Gauge, "prediction_cost_usd")
        self.price_usd_per_hour = self._make(Gauge, "price_usd_per_hour")
        self.batch_rows = self._make(Histogram, "batch_rows")
        self.batch_wait_seconds = self._make(Histogram, "batch_wait_seconds")
        self.batches_in_flight = self._make(Gauge, "batches_in_flight")
        self.batch_slots = self._make(Gauge, "batch_slots")
        self.batch_limit_rows = self._make(Gauge, "batch_limit_rows")
        self.shed = self._make(Counter, "shed_total")
        self.deadline_exceeded = self._make(Counter, "deadline_exceeded_total")
        self.backend_ejections = self._make(Counter, "backend_ejections_total")
        self.retries = self._make(Counter, "retries_total")
        self.journal_dropped = self._make(Counter, "journal_dropped_total")
        self.spool_rewards = self._make(Counter, "spool_rewards_total")
        self.spool_bytes = self._make(Gauge, "spool_bytes")
        self.store_up = self._make(Gauge, "store_up")
        # Not a number until it is known: the control process of several workers never asks the store for them.
        self.store_up.set(math.nan)
        self.snapshot_age_seconds = self._make(Gauge, "snapshot_age_seconds")

    def _make(self, kind: type[AnyMetric], name: str) -> AnyMetric:
        declared = TABLE[PREFIX + name]
        assert declared.kind == kind.__name__.lower()  # noqa: S101 a mistake in the table above, seen at every start
        options: dict[str, Any] = {"buckets": declared.buckets} if declared.buckets else {}
        return kind(declared.name, declared.help, declared.labels, registry=self.registry, **options)

    def expect(self, experiments: Iterable[str]) -> None:
        """Show what may happen to these at 0: a counter that begins with its first event hides that from `rate`."""
        for experiment in experiments:
            self.retries.labels(experiment)
        for reason in (QueueFull.label, Overloaded.label):
            self.shed.labels(reason)

    def batch(self, record: BatchRecord) -> None:
        """Count one upstream call that ended, well or ill."""
        servable, backend = record.servable, record.servable.backend
        if record.error is None:
            # What has answered exists; names that never answer are the clients' inventions.
            self.servables.add(_name(servable))
        is_known = self.servables.fold(_name(servable)) != OTHER
        model, version = (servable.model, _version(servable)) if is_known else (OTHER, OTHER)
        self.backend_seconds.labels(backend, model, version, record.error or "ok").observe(record.seconds)
        self.batch_rows.labels(backend).observe(record.rows)
        waiting = self.batch_wait_seconds.labels(backend)
        for wait_s in record.waits_s:
            waiting.observe(wait_s)

    def batch_limit(self, servable: Servable, rows: int) -> None:
        """Show how many rows a batch of a servable may have; names that never answered are not shown."""
        if self.servables.fold(_name(servable)) != OTHER:
            self.batch_limit_rows.labels(servable.backend, servable.model, _version(servable)).set(rows)

    def answered(self, front: str, total_s: float, backend_s: float) -> None:
        """Count a prediction that was answered after `total_s`, of which it waited `backend_s` for queue and backend."""
        self.requests.labels(front, "ok").inc()
        self.request_seconds.labels(front).observe(total_s)
        self.overhead_seconds.observe(max(0.0, total_s - backend_s))

    def failed(self, front: str, error: ServingError) -> None:
        """Count a request that ended without an answer."""
        self.requests.labels(front, error.label).inc()
        if isinstance(error, QueueFull):
            self.shed.labels(error.label).inc()
        elif isinstance(error, DeadlineExceeded):
            self.deadline_exceeded.labels(error.stage).inc()

    def show_state(self, state: Mapping[str, Any]) -> None:
        """Set the gauges of one experiment from its state as the admin API shows it (design §14); null: not known."""
        experiment = state["name"]
        for phase in PHASES:
            self.experiment_phase.labels(experiment, phase).set(phase == state["phase"])
        _set(self.experiment_value_remaining, (experiment,), state["value_remaining"]["q95"])
        for arm in state["arms"]:
            labels = (experiment, arm["name"])
            for arm_state in ARM_STATES:
                self.arm_state.labels(*labels, arm_state).set(arm_state == arm["state"])
            _set(self.arm_weight, labels, arm["weight"])
            _set(self.arm_best_probability, labels, arm["best_probability"])
            _set(self.arm_value_usd, labels, arm["value_usd"])
            _set(self.prediction_cost_usd, labels, arm["prediction_cost_usd"])
            _set(self.pending_rewards, labels, arm["pending"])
            _set(self.experiment_evidence_log, labels, arm["evidence_log"])
        # A leader of an earlier version says nothing of segments.
        for segment in state.get("segments", ()):
            for arm in segment["arms"]:
                place = (experiment, segment["name"], arm["name"])
                _set(self.segment_arm_weight, place, arm["weight"])
                _set(self.segment_arm_value_usd, place, arm["value_usd"])

    def forget_experiment(self, experiment: str) -> None:
        """Drop the gauges of an experiment this process shows no more; counters stay, for they must never go back."""
        for gauge in (metric for metric in vars(self).values() if isinstance(metric, Gauge)):
            for sample in (sample for family in gauge.collect() for sample in family.samples):
                if sample.labels.get("experiment") == experiment:
                    gauge.remove(*(sample.labels[label] for label in TABLE[sample.name].labels))


class Names:
    """Names that may become labels: those added, `limit` at most. Mutable: it only grows."""

    def __init__(self, limit: int, names: Iterable[str] = ()) -> None:
        self._limit = limit
        self._names: set[str] = set()
        for name in names:
            self.add(name)

    def add(self, name: str) -> None:
        """Admit a name while there is room."""
        if len(self._names) < self._limit:
            self._names.add(name)

    def fold(self, name: str) -> str:
        """Return the name if it was admitted, else "other"."""
        return name if name in self._names else OTHER


def _name(servable: Servable) -> str:
    return f"{servable.backend}/{servable.model}/{_version(servable)}"


def _version(servable: Servable) -> str:
    return "latest" if servable.version is None else str(servable.version)


def _set(gauge: Gauge, labels: tuple[str, ...], value: float | None) -> None:
    if value is None:
        gauge.remove(*labels)
    else:
        gauge.labels(*labels).set(value)


def snapshot(registry: CollectorRegistry) -> bytes:
    """Return all series of a process as msgpack, cumulative, for `Aggregate.update`; gauges that are NaN are left out.

    Takes 0.7 ms with a handful of arms, 5 ms with as many as there can be; may be called in a thread.
    """
    families: dict[str, list[Series]] = {}
    for family in registry.collect():
        declared = TABLE.get(family.name) or TABLE.get(f"{family.name}_total")
        if declared is None:
            continue
        found: dict[tuple[str, ...], list[float]] = {}
        for sample in family.samples:
            if not sample.name.endswith("_created") and not math.isnan(sample.value):
                labels = tuple(sample.labels[label] for label in declared.labels)
                found.setdefault(labels, []).append(sample.value)
        families[declared.name] = [(labels, tuple(values)) for labels, values in found.items()]
    return msgspec.msgpack.encode(families)
