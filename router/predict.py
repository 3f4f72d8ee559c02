"""The way of one request: bytes in, bytes out, no transport, and nothing on it that waits for a store.

1 read the model name · 2 experiment, pin or pass through · 3 draw the arm · 4 the backend's dispatcher (queue, merge,
call, split) · 5 one retry within budget, on another replica or else on control · 6 token and counts · 7 the answer under
the public name · 8 beside it, a copy for an arm that is only compared.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from bandits.sums import cell_arm
from router.capacity import Capacity
from router.capture.captor import Captor
from router.choice import Choice, Context, choose
from router.decisions import Keyring, Mode
from router.egress import Egress
from router.ejections import Ejections
from router.journal import Journal
from router.ledger import Ledger
from router.metrics import Metrics
from router.recorder import Recorder
from router.retry_budget import RetryBudget
from router.routes import Live, Routes
from router.shadow.mirror import Mirror
from router.snapshot import PARTS, ArmRoute, Snapshot
from router.store import Cell
from router.trials import Trials
from serving import methods, wire
from serving.dispatcher import Answer, Dispatcher
from serving.errors import BackendError, Code, InvalidArgument, ServingError, Unavailable
from serving.methods import Method
from serving.upstream import Servable

__all__ = ["DEADLINE_DEFAULT_S", "Context", "Predictor", "Reply", "read_timeout"]

# A request without a deadline of its own gets TF Serving's REST default.
DEADLINE_DEFAULT_S: Final = 30.0


# Eleven days: more digits than this are no deadline.
_TIMEOUT_DIGITS_MAX: Final = 9


def read_timeout(text: str) -> float:
    """Read `turpin-timeout-ms`; return seconds, or raise InvalidArgument."""
    if not (text.isascii() and text.isdecimal()) or len(text) > _TIMEOUT_DIGITS_MAX or not int(text):
        most = 10**_TIMEOUT_DIGITS_MAX - 1
        raise InvalidArgument(f"turpin-timeout-ms must be a whole number from 1 to {most}, got {text[:20]!r}")
    return int(text) * 1e-3


class Reply(NamedTuple):
    """An answer under the public name, how large it was, what was decided (empty strings for a request that was not
    decided by us), and the seconds it spent waiting for the backend: in the queue and in calls."""

    response: wire.Message
    size_bytes: int
    backend_s: float
    decision: str = ""
    arm: str = ""
    experiment: str = ""

    @property
    def body(self) -> bytes:
        """Serialise the response."""
        return bytes(self.response.SerializeToString())


@dataclass(frozen=True, slots=True)
class Decided:
    """An arm chosen for a request that the caller sends itself, with what it was chosen from."""

    decision: str
    snapshot: Snapshot
    arm: ArmRoute
    propensity: float
    mode: Mode


class Asked(NamedTuple):
    """A request on its way: which call it is, and the public name that its answer bears."""

    method: Method
    request: wire.Message
    model: str

    def named(self, answer: Answer) -> wire.Message:
        """Put an answer under the public name."""
        for spec in self.method.answer_specs(answer.response):
            spec.name = self.model
        return answer.response


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
        egress: Egress | None = None,
        unix_now: Callable[[], float],
        clock: Callable[[], float],
        trials: Trials | None = None,
        journal: Journal | None = None,
        ejections: Ejections | None = None,
        mirror: Mirror | None = None,
        captor: Captor | None = None,
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
        self._recorder = Recorder(
            keys=keys,
            ledger=ledger,
            metrics=metrics,
            trials=self._trials,
            journal=journal,
            egress=egress or Egress(),
            unix_now=unix_now,
        )
        self.ejections = ejections or Ejections()
        self._capacity = Capacity()
        self._mirror = mirror
        self._captor = captor
        self.in_flight: Counter[tuple[int, int]] = Counter()

    async def predict(self, body: bytes, context: Context, method: Method = methods.PREDICT) -> Reply:
        """Answer a serialised request of a method; see `answer`."""
        return await self.answer(wire.parse(method.request, body), context, method)

    async def answer(self, request: wire.Message, context: Context, method: Method = methods.PREDICT) -> Reply:
        """Answer a request of a method, which is ours from now on; ServingError for every way it can end without."""
        spec = method.spec_of(request)
        version = spec.version.value if spec.HasField("version") else None
        asked = Asked(method, request, spec.name)
        live = self._routes.by_model.get(spec.name)
        if live is None or not live.is_entry(version, spec.version_label):
            # Honoured as it is: no token, not learned from.
            if live is not None:
                self._metrics.decisions.labels(live.snapshot.name, "", "pinned").inc()
            places = self._routes.places(spec.name, version, spec.version_label)
            answer, backend_s = await self._first_loaded(places, asked, context)
            return Reply(asked.named(answer), answer.response.ByteSize(), backend_s)
        if live.snapshot.is_sticky and not context.unit and method is methods.PREDICT:
            context = context._replace(unit=bytes(request.client_id))
        return await self._decide(live, asked, context)

    async def _first_loaded(self, places: Sequence[Servable], asked: Asked, context: Context) -> tuple[Answer, float]:
        """Ask the places in turn until one has the version loaded; if none has, the first one's word counts."""
        missing: BackendError | None = None
        for place in places:
            try:
                return await self._dispatch(place, asked, context)
            except BackendError as error:
                if error.code is not Code.NOT_FOUND:
                    raise
                missing = missing or error
        raise missing or AssertionError("a request has at least one place to go")

    def decide(self, model: str, rows: int, context: Context) -> Decided | None:
        """Choose an arm for a request that the caller sends itself; None when no experiment has the model.

        It counts as a decision of so many rows; what it costs is not known here.
        """
        live = self._routes.by_model.get(model)
        if live is None:
            return None
        choice = self._draw(live, context)
        token = self._recorder.record(live, choice, rows)
        propensity = self._recorder.parts(live, choice) / PARTS
        return Decided(token, live.snapshot, live.snapshot.arms[choice.arm], propensity, choice.mode)

    def _draw(self, live: Live, context: Context) -> Choice:
        """Draw an arm, and count that; the serving arm answers, unlearned, for one that has no room or is not reached."""
        snapshot = live.snapshot
        choice = choose(live, context, self._keys, self._trials, self._unix_now())
        arm = choice.arm
        # All requests of a unit are one draw, and so are all of one id: they say nothing about how often an arm is drawn.
        if choice.mode.is_learned and not choice.unit and not context.request_id:
            cumulative = live.splits[choice.segment].cumulative
            self._ledger.assign(snapshot.epoch, snapshot.block, cumulative, arm, choice.segment)
        if not self._has_room(live, arm) or (
            arm != snapshot.serving and self.ejections.is_out(live.targets[arm], self._clock())
        ):
            # No call is made, so none is taken from the budget of retries.
            self._count_error(live, choice)
            return choice._replace(arm=snapshot.serving, mode=Mode.FALLBACK)
        return choice

    async def _decide(self, live: Live, asked: Asked, context: Context) -> Reply:
        snapshot = live.snapshot
        self._budget.earn()
        choice = self._draw(live, context)
        arm = choice.arm
        try:
            answer, backend_s = await self._on_arm(live, choice, asked, context)
        except ServingError as error:
            # Those that were on their way when the backend died are no storm: whoever comes after them goes elsewhere.
            is_dead = self.ejections.is_known_dead(live.targets[arm])
            # Another replica of the same arm, else the arm that serves.
            is_elsewhere = not is_dead and isinstance(error, Unavailable) and self._has_another(live.targets[arm])
            if arm == snapshot.serving and not is_elsewhere:
                raise
            if not _is_retryable(error) or not (is_dead or self._budget.spend()):
                raise
            self._metrics.retries.labels(snapshot.name).inc()
            arm = arm if is_elsewhere else snapshot.serving
            choice = choice._replace(arm=arm, mode=Mode.FALLBACK)
            answer, backend_s = await self._on_arm(live, choice, asked, context)
        size_bytes = answer.response.ByteSize()
        token = self._recorder.record(live, choice, answer.rows, answer.charged_ns, size_bytes)
        reply = Reply(asked.named(answer), size_bytes, backend_s, token, snapshot.arms[arm].name, snapshot.name)
        if snapshot.shadows and self._mirror is not None and asked.method is methods.PREDICT:
            self._mirror.answered(live, choice, asked.request, answer, backend_s)
        if self._captor is not None and self._captor.is_on and asked.method is methods.PREDICT:
            self._captor.answered(reply.experiment, reply.arm, token, asked.request, reply.body)
        return reply

    def _has_room(self, live: Live, arm: int) -> bool:
        """Count a request against its backend's capacity, and say whether it may go there; the serving arm's always may,
        for where else should it go?"""
        route = live.snapshot.arms[arm]
        if route.rps_max is None:
            return True
        return self._capacity.take(route.backend, route.rps_max, self._clock()) or arm == live.snapshot.serving

    def _has_another(self, target: Servable) -> bool:
        return self._dispatchers[target.backend].has_another()

    async def _on_arm(self, live: Live, choice: Choice, asked: Asked, context: Context) -> tuple[Answer, float]:
        """Have the arm answer; whatever else becomes of a request that was drawn is counted in the arm's cell."""
        target, place = live.targets[choice.arm], (live.snapshot.epoch, choice.arm)
        self.in_flight[place] += 1
        try:
            return await self._dispatch(target, asked, context)
        except ServingError as error:
            if isinstance(error, Unavailable):
                self.ejections.unreached(target)
            self._count_error(live, choice)
            raise
        except asyncio.CancelledError:
            # The client left. It leaves slow arms more often: uncounted, they would seem to be drawn too seldom.
            if choice.mode.is_learned:
                self._ledger.add(_cell(live, choice), cancelled=1)
            raise
        finally:
            self.in_flight[place] -= 1

    def _count_error(self, live: Live, choice: Choice) -> None:
        """Count a drawn request that its arm did not answer."""
        self._ledger.add(_cell(live, choice), **{"errors" if choice.mode.is_learned else "unlearned_errors": 1})

    async def _dispatch(self, target: Servable, asked: Asked, context: Context) -> tuple[Answer, float]:
        """Send the request to a target and return the answer and the seconds it took."""
        started = self._clock()
        dispatcher = self._dispatchers[target.backend]
        try:
            answer = await dispatcher.predict(target, asked.request, context.deadline, asked.method, context.peer)
        except BackendError as error:
            raise BackendError(error.code, target.public_words(error.message, asked.model)) from error
        return answer, self._clock() - started


def _cell(live: Live, choice: Choice) -> Cell:
    """Return where a request that was drawn is counted."""
    return Cell(live.snapshot.epoch, cell_arm(choice.arm, choice.segment), live.snapshot.block)


def _is_retryable(error: ServingError) -> bool:
    """Say whether another backend might answer: this one is away, or has just unloaded the version."""
    return isinstance(error, Unavailable) or (
        isinstance(error, BackendError) and error.code in (Code.UNAVAILABLE, Code.NOT_FOUND)
    )
