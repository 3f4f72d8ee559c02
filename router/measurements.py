"""What a worker measures of its batches: probes for the cost of each arm, and the sizes that batches have."""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from router.ejections import Ejections
from router.heartbeat import ArmBeat, ExperimentBeat, Heartbeat, ReplicaBeat
from router.metrics import SERVABLES_MAX, Metrics
from router.reward_calls import RewardCalls
from router.routes import Live
from serving.dispatcher import BatchRecord, Dispatcher
from serving.probes import ProbeSchedule
from serving.upstream import Servable

# Sizes of the last so many batches per arm: a few seconds under load, and old sizes leave.
_BATCHES_KEPT: Final = 512


class Measurements:
    """Batches seen by one worker. Mutable: the last sizes per arm, the probes of each backend, the arms whose backend
    does not answer, and what became of reward calls."""

    def __init__(self, backends: Sequence[str], metrics: Metrics) -> None:
        self._metrics = metrics
        self._schedules = {backend: ProbeSchedule() for backend in backends}
        self._sizes: dict[Servable, deque[int]] = {}
        self._charged: dict[tuple[str, str], Counter[tuple[str, str]]] = {}
        self.ejections = Ejections()
        self.reward_calls = RewardCalls()

    def on_batch(self, record: BatchRecord) -> None:
        """Take note of a batch that came back, well or ill."""
        self._metrics.batch(record)
        self.charge(record.servable, record.replica, record.charged_ns, is_answered=record.error is None)
        self.ejections.on_batch(record)
        if record.error is not None:
            if record.is_probe:
                self._schedules[record.servable.backend].failed(record.servable, record.charged_ns)
            return
        rows = record.pad_to or record.rows
        self._schedules[record.servable.backend].record(
            record.servable, rows=rows, seconds=record.seconds, charged_ns=record.charged_ns, is_probe=record.is_probe
        )
        if not record.is_probe:
            self._sizes.setdefault(record.servable, deque(maxlen=_BATCHES_KEPT)).append(record.rows)

    def show(self, backend: str, dispatcher: Dispatcher) -> None:
        """Set the gauges of a backend's batches."""
        under_way, slots = dispatcher.batches()
        self._metrics.batches_in_flight.labels(backend).set(under_way)
        self._metrics.batch_slots.labels(backend).set(slots)
        for servable, rows in dispatcher.rows_max().items():
            self._metrics.batch_limit(servable, rows)

    def ask_for_probes(self, live: Live, dispatchers: Mapping[str, Dispatcher]) -> None:
        """Let the next batch of the arm whose turn it is run as a probe, if its backend's budget allows."""
        for backend, schedule in self._schedules.items():
            arms = [
                target
                for target, arm in zip(live.targets, live.snapshot.arms, strict=True)
                # One that is never merged can't be padded: its probe would never run.
                if arm.parts and arm.is_merged and target.backend == backend
            ]
            servable = schedule.due(arms)
            if servable is not None:
                dispatchers[backend].probe(servable, live.snapshot.reference_rows)

    def heartbeat(
        self,
        lives: Sequence[Live],
        in_flight: Mapping[tuple[int, int], int],
        busy_ns: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
    ) -> Heartbeat:
        """Say what the control process wants to know of these experiments, and of the replicas, by backend and address."""
        return Heartbeat(
            {live.snapshot.epoch: self._beat(live, in_flight) for live in lives},
            {
                backend: {address: self._replica(backend, address, ns) for address, ns in replicas.items()}
                for backend, replicas in busy_ns.items()
            },
        )

    def charge(self, servable: Servable, replica: str, charged_ns: int, *, is_answered: bool) -> None:
        """Count what a call was charged for its version; of names that clients may make up only those that answered."""
        key = (servable.model, "" if servable.version is None else str(servable.version))
        charged = self._charged.setdefault((servable.backend, replica), Counter())
        if key not in charged and (not is_answered or len(charged) >= SERVABLES_MAX):
            key = ("", "")
        charged[key] += charged_ns

    def _replica(self, backend: str, address: str, busy_ns: int) -> ReplicaBeat:
        charged = self._charged.get((backend, address), Counter())
        return ReplicaBeat(busy_ns, tuple((model, version, ns) for (model, version), ns in charged.items()))

    def _beat(self, live: Live, in_flight: Mapping[tuple[int, int], int]) -> ExperimentBeat:
        for place, target in enumerate(live.targets):
            # An arm that comes back from quarantine is not judged by calls from before it.
            if not any(split.parts[place] for split in live.splits):
                self.ejections.forget(target)
        arms = tuple(
            ArmBeat(
                in_flight=in_flight.get((live.snapshot.epoch, place), 0),
                probes=tuple(self._schedules[target.backend].measured.get(target, ())),
                batch_rows=dict(Counter(self._sizes.get(target, ()))),
                unreached_in_a_row=self.ejections.unreached_in_a_row(target),
                reward_calls=self.reward_calls.of(live.snapshot.epoch, place),
            )
            for place, target in enumerate(live.targets)
        )
        return ExperimentBeat(live.snapshot.version, arms, self.reward_calls.last_at(live.snapshot.epoch))
