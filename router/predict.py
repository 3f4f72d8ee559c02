"""The way of one request: bytes in, bytes out, no transport, and nothing on it that waits for a store.

1 read the model name · 2 experiment, pin or pass through · 3 draw the arm · 4 the backend's dispatcher (queue, merge,
call, split) · 5 one retry on control within budget · 6 token and counts · 7 the answer under the public name.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from bandits.sums import cell_arm
from router.choice import Choice, Context, choose
from router.decisions import Decision, Keyring, Mode
from router.ejections import Ejections
from router.journal import Journal
from router.ledger import Ledger
from router.metrics import Metrics
from router.routes import Live, Routes
from router.snapshot import PARTS
from router.store import Cell
from router.trials import Trials, trial_of
from serving import wire
from serving.cost import pico_usd
from serving.dispatcher import Answer, Dispatcher
from serving.errors import BackendError, Code, InvalidArgument, ServingError, Unavailable
from serving.upstream import Servable

__all__ = ["DEADLINE_DEFAULT_S", "Context", "Predictor", "Reply", "RetryBudget", "read_timeout"]

# A request without a deadline of its own gets TF Serving's REST default.
DEADLINE_DEFAULT_S: Final = 30.0
# The budget can save up a few retries, so that a backend's restart at low traffic is bridged (Linkerd allows 10/s).
_RETRY_SAVINGS_MAX: Final = 10.0


# Eleven days: more digits than this are no deadline.
_TIMEOUT_DIGITS_MAX: Final = 9


def read_timeout(text: str) -> float:
    """Read `turpin-timeout-ms`; return seconds, or raise InvalidArgument."""
    if not (text.isascii() and text.isdecimal()) or len(text) > _TIMEOUT_DIGITS_MAX or not int(text):
        most = 10**_TIMEOUT_DIGITS_MAX - 1
        raise InvalidArgument(f"turpin-timeout-ms must be a whole number from 1 to {most}, got {text[:20]!r}")
    return int(text) * 1e-3


@dataclass(frozen=True, slots=True)
class Reply:
    """A PredictResponse's bytes, what was decided (empty strings for a request that was not decided by us), and the
    seconds it spent waiting for the backend: in the queue and in calls."""

    body: bytes
    backend_s: float
    decision: str = ""
    arm: str = ""
    experiment: str = ""


class RetryBudget:
    """Every request earns a fraction of a retry, so that retries never exceed that fraction of the load."""

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._saved = _RETRY_SAVINGS_MAX

    def earn(self) -> None:
        """Count one request."""
        self._saved = min(_RETRY_SAVINGS_MAX, self._saved + self._ratio)

    def spend(self) -> bool:
        """Take one retry if there is one."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True


class Predictor:
    """Decides and dispatches requests. Mutable: requests in flight per (epoch, arm), and the retry budget."""

    def __init__(
        self,
        *,
        routes: Routes,
        dispatchers: Mapping[str, Dispatcher],
        keys: Keyring,
        ledger: Ledger,
        metrics: Metrics,
        retry_ratio: float,
        unix_now: Callable[[], float],
        clock: Callable[[], float],
        trials: Trials | None = None,
        journal: Journal | None = None,
        ejections: Ejections | None = None,
    ) -> None:
        """`clock` measures durations, in seconds; `trials` are those of sticky experiments."""
        self._clock = clock
        self._routes = routes
        self._dispatchers = dispatchers
        self._keys = keys
        self._ledger = ledger
        self._metrics = metrics
        self._unix_now = unix_now
        self._budget = RetryBudget(retry_ratio)
        self._trials = trials or Trials()
        self._journal = journal
        self.ejections = ejections or Ejections()
        self.in_flight: Counter[tuple[int, int]] = Counter()

    async def predict(self, body: bytes, context: Context) -> Reply:
        """Answer a serialised PredictRequest; ServingError for every way it can end without an answer."""
        request = wire.parse(wire.PredictRequest, body)
        spec = request.model_spec
        if not spec.name:
            raise InvalidArgument("ModelSpec has no name specified.")
        live = self._routes.by_model.get(spec.name)
        if live is None:
            target = self._named(spec, self._routes.backend_of(spec.name))
            answer, backend_s = await self._dispatch(target, request, context)
            return Reply(answer.response.SerializeToString(), backend_s)
        choice = spec.WhichOneof("version_choice")
        is_entry = choice is None or (choice == "version_label" and spec.version_label in live.snapshot.entry_labels)
        if live.snapshot.is_sticky and not context.unit:
            context = replace(context, unit=bytes(request.client_id))
        return await (self._decide if is_entry else self._pinned)(live, request, context)

    async def _pinned(self, live: Live, request: wire.Message, context: Context) -> Reply:
        """Honour a version or label the client insists on: no token, not learned from."""
        spec = request.model_spec
        snapshot = live.snapshot
        self._metrics.decisions.labels(snapshot.name, "", "pinned").inc()
        # Where its metadata is asked for, too (router/models.py).
        target = live.targets[snapshot.serving]
        if spec.WhichOneof("version_choice") == "version":
            pinned = spec.version.value
            target = next((one for one in live.targets if one.version == pinned), None) or Servable(
                target.backend, target.model, pinned
            )
        else:
            target = Servable(target.backend, target.model, None, spec.version_label)
        answer, backend_s = await self._dispatch(target, request, context)
        answer.response.model_spec.name = snapshot.model
        return Reply(answer.response.SerializeToString(), backend_s)

    async def _decide(self, live: Live, request: wire.Message, context: Context) -> Reply:
        snapshot = live.snapshot
        choice = choose(live, context, self._keys, self._trials, self._unix_now())
        arm = choice.arm
        # All requests of a unit are one draw: they say nothing about how often an arm is drawn.
        if choice.mode.is_learned and not choice.unit:
            cumulative = live.splits[choice.segment].cumulative
            self._ledger.assign(snapshot.epoch, snapshot.block, cumulative, arm, choice.segment)
        self._budget.earn()
        if arm != snapshot.serving and self.ejections.is_out(live.targets[arm], self._clock()):
            # No call is made, so none is taken from the budget of retries.
            self._count_error(live, choice)
            arm = snapshot.serving
            choice = choice._replace(arm=arm, mode=Mode.FALLBACK)
        try:
            answer, backend_s = await self._on_arm(live, choice, request, context)
        except ServingError as error:
            if arm == snapshot.serving or not _is_retryable(error) or not self._budget.spend():
                raise
            self._metrics.retries.labels(snapshot.name).inc()
            arm = snapshot.serving
            choice = choice._replace(arm=arm, mode=Mode.FALLBACK)
            answer, backend_s = await self._on_arm(live, choice, request, context)
        token = self._record(live, choice, answer)
        answer.response.model_spec.name = snapshot.model
        return Reply(answer.response.SerializeToString(), backend_s, token, snapshot.arms[arm].name, snapshot.name)

    async def _on_arm(
        self, live: Live, choice: Choice, request: wire.Message, context: Context
    ) -> tuple[Answer, float]:
        """Have the arm answer; whatever else becomes of a request that was drawn is counted in the arm's cell."""
        arm, epoch = choice.arm, live.snapshot.epoch
        place = (epoch, arm)
        cell = Cell(epoch, cell_arm(arm, choice.segment), live.snapshot.block)
        is_learned = choice.mode.is_learned
        self.in_flight[place] += 1
        try:
            return await self._dispatch(live.targets[arm], request, context)
        except ServingError:
            self._count_error(live, choice)
            raise
        except asyncio.CancelledError:
            # The client left. It leaves slow arms more often: uncounted, they would seem to be drawn too seldom.
            if is_learned:
                self._ledger.add(cell, cancelled=1)
            raise
        finally:
            self.in_flight[place] -= 1

    def _count_error(self, live: Live, choice: Choice) -> None:
        """Count a drawn request that its arm did not answer."""
        cell = Cell(live.snapshot.epoch, cell_arm(choice.arm, choice.segment), live.snapshot.block)
        self._ledger.add(cell, **{"errors" if choice.mode.is_learned else "unlearned_errors": 1})

    async def _dispatch(self, target: Servable, request: wire.Message, context: Context) -> tuple[Answer, float]:
        """Send the request to a target and return the answer and the seconds it took."""
        started = self._clock()
        answer = await self._dispatchers[target.backend].predict(target, request, context.deadline)
        return answer, self._clock() - started

    def _record(self, live: Live, choice: Choice, answer: Answer) -> str:
        """Count the decision, note it in the journal, and sign it."""
        snapshot, arm, mode = live.snapshot, choice.arm, choice.mode
        route = snapshot.arms[arm]
        cost = pico_usd(answer.charged_ns, route.price_usd_per_hour)
        cell = Cell(snapshot.epoch, cell_arm(arm, choice.segment), snapshot.block)
        # A unit's trial is counted when the store has heard of it.
        is_trial = mode.is_learned and bool(choice.unit)
        self._ledger.add(
            cell,
            decisions=int(mode.is_learned and not is_trial),
            unlearned_decisions=int(not mode.is_learned),
            rows=answer.rows,
            busy_ns=answer.charged_ns,
            cost_pico_usd=cost,
        )
        self._metrics.decisions.labels(snapshot.name, route.name, mode.name.lower()).inc()
        self._metrics.cost_usd.labels(snapshot.name, route.name, "busy").inc(cost * 1e-12)
        if snapshot.segments:
            self._metrics.segment_decisions.labels(snapshot.name, snapshot.segments[choice.segment].name).inc()
        parts = live.splits[choice.segment].parts[arm] if mode is not Mode.FALLBACK else PARTS
        decision = Decision(
            mode=mode,
            segment=choice.segment,
            epoch=snapshot.epoch,
            arm=arm,
            parts=parts,
            weights_version=snapshot.version,
            block=snapshot.block,
            time_us=int(self._unix_now() * 1e6),
            rows=answer.rows,
            nonce=choice.nonce,
        )
        if is_trial:
            self._trials.begin(trial_of(decision, snapshot))
        if self._journal is not None:
            self._journal.decided(decision, snapshot, cost, choice.unit)
        return self._keys.sign(decision)

    @staticmethod
    def _named(spec: wire.Message, backend: str) -> Servable:
        choice = spec.WhichOneof("version_choice")
        if choice == "version":
            return Servable(backend, spec.name, spec.version.value)
        return Servable(backend, spec.name, None, spec.version_label)


def _is_retryable(error: ServingError) -> bool:
    """Say whether another backend might answer: this one is away, or has just unloaded the version."""
    return isinstance(error, Unavailable) or (
        isinstance(error, BackendError) and error.code in (Code.UNAVAILABLE, Code.NOT_FOUND)
    )
