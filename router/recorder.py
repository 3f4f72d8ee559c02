"""What becomes of a decision that stands: it is counted, noted in the journal, and signed."""

from collections.abc import Callable

from bandits.sums import cell_arm
from router.choice import Choice
from router.decisions import Decision, Keyring, Mode
from router.egress import Egress
from router.journal import Journal
from router.ledger import Ledger
from router.metrics import Metrics
from router.routes import Live
from router.snapshot import PARTS
from router.store import Cell
from router.trials import Trials, trial_of
from serving.cost import pico_usd


class Recorder:
    """Counts decisions in the ledger and the metrics, and makes their tokens."""

    def __init__(
        self,
        *,
        keys: Keyring,
        ledger: Ledger,
        metrics: Metrics,
        trials: Trials,
        journal: Journal | None,
        egress: Egress,
        unix_now: Callable[[], float],
    ) -> None:
        self._keys, self._ledger, self._metrics = keys, ledger, metrics
        self._trials, self._journal = trials, journal
        self._egress = egress
        self._unix_now = unix_now

    @staticmethod
    def parts(live: Live, choice: Choice) -> int:
        """Return the probability of the choice in parts of 2^-31: a fallback could not come out otherwise."""
        return live.splits[choice.segment].parts[choice.arm] if choice.mode is not Mode.FALLBACK else PARTS

    def record(self, live: Live, choice: Choice, rows: int, charged_ns: int = 0, response_bytes: int = 0) -> str:
        """Return the token of a decision, once it is counted with what its answer cost."""
        snapshot, (arm, segment, mode, nonce, unit) = live.snapshot, choice
        route = snapshot.arms[arm]
        busy = pico_usd(charged_ns, route.price_usd_per_hour)
        egress = self._egress.charge(route.backend, route.model, route.version, response_bytes)
        # A unit's trial is counted when the store has heard of it.
        is_trial = mode.is_learned and bool(unit)
        self._ledger.add(
            Cell(snapshot.epoch, cell_arm(arm, segment), snapshot.block),
            decisions=int(mode.is_learned and not is_trial),
            unlearned_decisions=int(not mode.is_learned),
            rows=rows,
            busy_ns=charged_ns,
            cost_pico_usd=busy + egress,
        )
        self._metrics.decisions.labels(snapshot.name, route.name, mode.label).inc()
        self._metrics.cost_usd.labels(snapshot.name, route.name, "busy").inc(busy * 1e-12)
        if egress:
            self._metrics.cost_usd.labels(snapshot.name, route.name, "egress").inc(egress * 1e-12)
        if snapshot.segments:
            self._metrics.segment_decisions.labels(snapshot.name, snapshot.segments[segment].name).inc()
        decision = Decision(
            mode,
            segment,
            snapshot.epoch,
            arm,
            self.parts(live, choice),
            snapshot.version,
            snapshot.block,
            int(self._unix_now() * 1e6),
            rows,
            nonce,
        )
        if is_trial:
            self._trials.begin(trial_of(decision, snapshot))
        if self._journal is not None:
            self._journal.decided(decision, snapshot, busy + egress, unit)
        return self._keys.sign(decision)
