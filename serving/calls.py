"""One batch upstream and back: joined, called, metered, split; and its riders one by one when that can't work."""

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serving import cost, methods, wire
from serving.batcher import Batch
from serving.errors import Code, InternalError, InvalidArgument, ServingError
from serving.methods import Method
from serving.queues import Rider
from serving.upstream import Servable, Upstream

log = logging.getLogger(__name__)

# A call upstream gets at least this long, whatever its riders' deadlines: cut off by them, it would go on keeping the
# backend busy behind our back. 30 s is what a request without a deadline gets.
CALL_TIMEOUT_MIN_S = 30.0
# Errors that one rider's content can cause. The others ride again alone, so that only the guilty one fails.
CLIENT_FAULTS = frozenset({Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION, Code.OUT_OF_RANGE})


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's own rows of a batch's response, with the model_spec the backend gave it."""

    response: wire.Message  # as its method has it
    rows: int
    replica: str
    batch_rows: int
    charged_ns: int


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One upstream call that ended. `waits_s`: its riders' time in the queue, empty when they ride again alone."""

    servable: Servable
    replica: str
    riders: int
    rows: int
    seconds: float
    waits_s: tuple[float, ...]
    charged_ns: int
    is_probe: bool
    pad_to: int | None
    error: str | None  # the error's label
    is_clients_fault: bool = False  # what a request contained was the error
    ended_ns: int = 0  # on the clock of costs


@dataclass(frozen=True, slots=True)
class Waiter:
    """A request on its way, and the future its client waits on."""

    rider: Rider
    request: wire.Message
    future: "asyncio.Future[Answer]"
    since: float
    method: Method = methods.PREDICT

    def answer(self, answer: Answer) -> None:
        """Hand over the answer, unless the client has left or was told otherwise."""
        if not self.future.done():
            self.future.set_result(answer)

    def fail(self, error: ServingError) -> None:
        """Hand over an error, unless the client has left or was told otherwise."""
        if not self.future.done():
            self.future.set_exception(error)


class Calls:
    """Makes the upstream calls of one backend's batches, and shares out their busy time."""

    # Mutable: `_upstreams`, `_meters` per replica; `_unbatchable` (servable, path, signature) found not to be batch-major, as
    # many as the models have signatures.

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        *,
        clock: Callable[[], float],
        clock_ns: Callable[[], int],
        on_batch: Callable[[BatchRecord], None],
    ) -> None:
        self._upstreams = list(upstreams)
        self._meters = [cost.BusyMeter() for _ in upstreams]
        self._clock = clock
        self._clock_ns = clock_ns
        self._on_batch = on_batch
        self._call_ids = itertools.count(1)
        self._unbatchable: set[tuple[Servable, str, str]] = set()

    def put(self, index: int, upstream: Upstream) -> None:
        """Give a replica's number to this one; nothing is under way there."""
        meter = cost.BusyMeter()
        if index == len(self._upstreams):
            self._upstreams.append(upstream)
            self._meters.append(meter)
        else:
            self._upstreams[index], self._meters[index] = upstream, meter

    def busy_ns(self) -> dict[str, int]:
        """Return each replica's busy time so far, in ns, by address; calls under way are in it up to now."""
        now_ns = self._clock_ns()
        meters = zip(self._upstreams, self._meters, strict=True)
        return {upstream.address: meter.busy_ns(now_ns) for upstream, meter in meters}

    def is_batchable(self, servable: Servable, method: Method, signature: str) -> bool:
        """Whether nothing is known against merging requests of this signature."""
        return (servable, method.path, signature) not in self._unbatchable

    async def run(self, batch: Batch, waiters: Sequence[Waiter]) -> None:
        """Bring every waiter its answer or an error; return when nothing of the batch is upstream any more."""
        try:
            if len(waiters) == 1 and batch.pad_to is None:
                await self._run_alone(batch, waiters[0], is_first=True)
            else:
                await self._run_merged(batch, waiters)
        except ServingError as error:
            for waiter in waiters:
                waiter.fail(error)
        except Exception:  # Bulkhead: one bad batch must not end the service.
            log.exception("batch failed", extra={"servable": str(batch.servable), "riders": len(waiters)})
            for waiter in waiters:
                waiter.fail(InternalError("the gateway failed on the batch of this request; its log says why"))
        finally:
            for waiter in waiters:
                # Nobody is left to wait for nothing, even when an upstream ends its caller by a cancellation.
                waiter.fail(InternalError(f"the call to {self._upstreams[batch.replica].address} was cut off"))

    async def _run_merged(self, batch: Batch, waiters: Sequence[Waiter]) -> None:
        """Send the batch as one request; if that fails for what a rider contains or what the model is, one by one."""
        rows = [waiter.rider.rows for waiter in waiters]
        method = waiters[0].method
        try:
            request = method.join([waiter.request for waiter in waiters], batch.pad_to)
            response, charged_ns = await self._call(batch, request, waiters, is_first=True)
        except ServingError as error:
            if error.code not in CLIENT_FAULTS:
                raise
            await self._run_one_by_one(batch, waiters)
            return
        try:
            parts = method.split(response, rows, batch.pad_to)
        except InternalError as error:
            signature = method.signature_of(request)
            self._unbatchable.add((batch.servable, method.path, signature))
            log.warning(
                "model is not batch-major: its requests go alone from now on",
                extra={"servable": str(batch.servable), "signature": signature, "reason": error.message},
            )
            await self._run_one_by_one(batch, waiters)
            return
        replica = self._upstreams[batch.replica].address
        shares_ns = cost.share(charged_ns, rows)
        for waiter, part, share_ns in zip(waiters, parts, shares_ns, strict=True):
            waiter.answer(Answer(part, waiter.rider.rows, replica, batch.rows, share_ns))

    async def _run_one_by_one(self, batch: Batch, waiters: Sequence[Waiter]) -> None:
        """Send each rider alone, one after the other in the batch's slot; those that left or expired stay behind."""
        for waiter in waiters:
            if waiter.future.done():
                continue
            try:
                await self._run_alone(batch, waiter, is_first=False)
            except ServingError as error:
                waiter.fail(error)

    async def _run_alone(self, batch: Batch, waiter: Waiter, *, is_first: bool) -> None:
        """Send one rider as it came, and hand over the response as it came."""
        response, charged_ns = await self._call(batch, waiter.request, (waiter,), is_first=is_first)
        replica = self._upstreams[batch.replica].address
        waiter.answer(Answer(response, waiter.rider.rows, replica, waiter.rider.rows, charged_ns))

    async def _call(
        self, batch: Batch, request: wire.Message, waiters: Sequence[Waiter], *, is_first: bool
    ) -> tuple[wire.Message, int]:
        """Make one upstream call and record it; return its response and what it is charged, in ns."""
        method = waiters[0].method
        upstream, meter = self._upstreams[batch.replica], self._meters[batch.replica]
        call_id = next(self._call_ids)
        label: str | None = InternalError.label
        is_clients_fault = False
        body = request.SerializeToString()
        sent_at = self._clock()
        timeout_s = max(CALL_TIMEOUT_MIN_S, max(waiter.rider.deadline for waiter in waiters) - sent_at)
        started_ns = self._clock_ns()
        meter.started(call_id, started_ns)
        try:
            response = _parse(method, await upstream.call(method.path, body, timeout_s), upstream.address)
            label = None
        except ServingError as error:
            label = error.label
            is_clients_fault = error.code in CLIENT_FAULTS
            raise
        finally:
            ended_ns = self._clock_ns()
            charged_ns = meter.ended(call_id, ended_ns)
            record = BatchRecord(
                servable=batch.servable,
                replica=upstream.address,
                riders=len(waiters),
                rows=sum(waiter.rider.rows for waiter in waiters),
                seconds=(ended_ns - started_ns) / 1e9,
                waits_s=tuple(sent_at - waiter.since for waiter in waiters) if is_first else (),
                charged_ns=charged_ns,
                is_probe=batch.is_probe and is_first,
                pad_to=batch.pad_to if is_first else None,
                error=label,
                is_clients_fault=is_clients_fault,
                ended_ns=ended_ns,
            )
            self._on_batch(record)
        return response, charged_ns


def _parse(method: Method, body: bytes, address: str) -> wire.Message:
    """Parse a backend's answer; what can't be read is its fault, not the client's."""
    try:
        return wire.parse(method.response, body)
    except InvalidArgument as error:
        name = method.response.DESCRIPTOR.name
        raise InternalError(f"{address} answered {len(body)} bytes that are no {name}") from error
