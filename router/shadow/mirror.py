"""Sends copies of answered requests to arms that do not answer them, and compares what comes back.

Nobody waits for it: a copy is made after the answer, when fewer than its bound are under way and the backend has room to
spare; else it is dropped, and counted. There is no queue. It is no decision: nothing of it is learned from, signed or
counted as traffic, and whether it was answered is no word on its backend's health.
"""

import asyncio
import contextvars
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, Protocol, Self

import structlog

from router.choice import Choice
from router.decisions import Mode
from router.egress import Egress
from router.metrics import Metrics
from router.routes import Live
from router.shadow.sums import ShadowSums
from router.snapshot import PARTS, ShadowRoute
from serving import wire
from serving.calls import Copied
from serving.comparison import compare
from serving.cost import pico_usd
from serving.dispatcher import Answer, Dispatcher
from serving.errors import DeadlineExceeded, Unavailable
from serving.upstream import Servable

log = structlog.get_logger(__name__)

# Requests with their answers that are larger are not copied: so many times `max_in_flight` is what copies may hold.
LARGEST_BYTES: Final = 4 << 20
# Comparing more than this takes a millisecond, and goes to a thread.
_INLINE_BYTES: Final = 64 << 10

_Key = tuple[int, str]


class Charge(Protocol):
    """Who is told what a copy was charged."""

    def __call__(self, servable: Servable, replica: str, charged_ns: int, *, is_answered: bool) -> None:
        """Count it for the version's bill."""


class Mirror:
    """The copies of one worker. Used as `async with` inside the loop; before and after nothing is copied.

    Mutable: the sums by epoch and shadow, how many copies are under way, and until when which shadows rest.
    """

    def __init__(
        self,
        dispatchers: Mapping[str, Dispatcher],
        metrics: Metrics,
        charge: Charge,
        clock: Callable[[], float],
        egress: Egress | None = None,
    ) -> None:
        """`clock` measures durations, in seconds."""
        self._dispatchers, self._metrics, self._charge, self._clock = dispatchers, metrics, charge, clock
        self._egress = egress or Egress()
        self._sums: dict[_Key, ShadowSums] = {}
        self._in_flight: Counter[_Key] = Counter()
        self._rests_until: dict[_Key, float] = {}
        self._tasks = asyncio.TaskGroup()
        self._running: set[asyncio.Task[None]] = set()
        self._is_open = False
        # Of its own: a copy does not belong to the logging context of its request.
        self._context = contextvars.Context()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_open = False
        for task in self._running:
            # Nobody waits for copies: those under way end with their deadlines.
            task.cancel()
        await self._tasks.__aexit__(kind, error, traceback)

    def answered(self, live: Live, choice: Choice, request: wire.Message, answer: Answer, waited_s: float) -> None:
        """Have a Predict request copied that an arm has answered after waiting so long for its backend, where a share says
        so. It returns at once; request and answer are ours from now on.

        The nonce decides: a request that is sent again is copied again.
        """
        if choice.mode is Mode.FALLBACK or not self._is_open:
            return
        arm, point = choice.arm, int.from_bytes(choice.nonce[:4]) % PARTS
        for route in live.snapshot.shadows:
            is_of_another = Servable(route.backend, route.model, route.version) != live.targets[arm]
            if is_of_another and point < route.parts and (not route.against or arm in route.against):
                self._begin(live, route, request, answer, waited_s)

    def _begin(self, live: Live, route: ShadowRoute, request: wire.Message, answer: Answer, waited_s: float) -> None:
        key = (live.snapshot.epoch, route.key)
        sums = self._sums.setdefault(key, ShadowSums())
        sums.requests += 1
        if self._in_flight[key] >= route.max_in_flight:
            self._drop(live, route, sums, "in_flight")
        elif self._rests_until.get(key, 0.0) > self._clock():
            self._drop(live, route, sums, "resting")
        elif request.ByteSize() + answer.response.ByteSize() > LARGEST_BYTES:
            self._drop(live, route, sums, "large")
        else:
            self._in_flight[key] += 1
            # A task begins in the loop's next round, when the answer is on its way.
            task = self._tasks.create_task(
                self._copy(live, route, sums, request, answer, waited_s), name="copy", context=self._context
            )
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _drop(self, live: Live, route: ShadowRoute, sums: ShadowSums, reason: str) -> None:
        sums.drop(reason)
        self._metrics.shadow_requests.labels(live.snapshot.name, route.name, f"dropped_{reason}").inc()

    async def _copy(
        self,
        live: Live,
        route: ShadowRoute,
        sums: ShadowSums,
        request: wire.Message,
        answer: Answer,
        waited_s: float,
    ) -> None:
        key = (live.snapshot.epoch, route.key)
        try:
            target = Servable(route.backend, route.model, route.version)
            copied = await self._dispatchers[route.backend].copies.send(
                target, request, route.timeout_s, on_sent=lambda: self._note_sent(sums)
            )
            if copied is None:
                self._drop(live, route, sums, "busy")
                return
            self._pay(live, route, sums, target, copied)
            if copied.response is None:
                self._failed(live, route, sums, copied, key)
            else:
                await self._compare(live, route, sums, answer.response, copied, copied.response, waited_s)
        except Exception:  # Bulkhead: a copy that nobody foresaw must not end the worker.
            log.exception("copy failed", experiment=live.snapshot.name, arm=route.name)
            sums.failed("internal")
        finally:
            self._in_flight[key] -= 1

    @staticmethod
    def _note_sent(sums: ShadowSums) -> None:
        sums.mirrored += 1

    def _pay(self, live: Live, route: ShadowRoute, sums: ShadowSums, target: Servable, copied: Copied) -> None:
        """Bill a copy apart from all arms: it is in the bill of its version on the model server, and in no arm's cost."""
        size_bytes = 0 if copied.response is None else copied.response.ByteSize()
        cost = pico_usd(copied.charged_ns, route.price_usd_per_hour)
        cost += self._egress.charge(route.backend, route.model, route.version, size_bytes)
        sums.cost_pico_usd += cost
        self._metrics.cost_usd.labels(live.snapshot.name, route.name, "shadow").inc(cost * 1e-12)
        self._charge(target, copied.replica, copied.charged_ns, is_answered=copied.error is None)

    def _failed(self, live: Live, route: ShadowRoute, sums: ShadowSums, copied: Copied, key: _Key) -> None:
        error = copied.error
        sums.failed("unknown" if error is None else error.label)
        self._metrics.shadow_requests.labels(live.snapshot.name, route.name, "error").inc()
        if isinstance(error, DeadlineExceeded | Unavailable):
            # The model server may still be at work on it: as long again it is left alone.
            self._rests_until[key] = self._clock() + route.timeout_s

    async def _compare(
        self,
        live: Live,
        route: ShadowRoute,
        sums: ShadowSums,
        answered: wire.Message,
        copied: Copied,
        response: wire.Message,
        waited_s: float,
    ) -> None:
        if answered.ByteSize() + response.ByteSize() > _INLINE_BYTES:
            found = await asyncio.to_thread(compare, answered, response, route.tolerance)
        else:
            found = compare(answered, response, route.tolerance)
        has_agreed = sums.compare(found, waited_s, copied.seconds)
        names = (live.snapshot.name, route.name)
        self._metrics.shadow_requests.labels(*names, "agreed" if has_agreed else "differing").inc()
        self._metrics.shadow_seconds.labels(*names).observe(copied.seconds)

    def beat(self, lives: Sequence[Live]) -> dict[int, dict[str, ShadowSums]]:
        """Return the sums by epoch and shadow, and forget those that are not asked for any more."""
        wanted = {(live.snapshot.epoch, route.key) for live in lives for route in live.snapshot.shadows}
        for key in [key for key in self._sums if key not in wanted and not self._in_flight[key]]:
            del self._sums[key]
            del self._in_flight[key]
            self._rests_until.pop(key, None)
        found: dict[int, dict[str, ShadowSums]] = {}
        for (epoch, shadow), sums in self._sums.items():
            found.setdefault(epoch, {})[shadow] = sums
        return found
