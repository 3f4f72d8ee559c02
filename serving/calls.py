"""One batch upstream and back: joined, called, metered, split; and its riders one by one when that can't work."""

import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serving import cost, pieces, wire
from serving.batcher import Batch
from serving.caps import Caps
from serving.errors import Code, InternalError, InvalidArgument, ServingError
from serving.groups import Answer, Group, Waiter, halvings_max
from serving.methods import Method
from serving.upstream import Servable, Upstream

log = logging.getLogger(__name__)

# A call upstream gets at least this long, whatever its riders' deadlines: cut off by them, it would go on keeping the
# backend busy behind our back. 30 s is what a request without a deadline gets.
CALL_TIMEOUT_MIN_S = 30.0
# Errors that one rider's content can cause. The others ride again alone, so that only the guilty one fails.
CLIENT_FAULTS = frozenset({Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION, Code.OUT_OF_RANGE})
# Errors that speak against a replica where others have none: it is broken, hangs, or lacks the version. UNAVAILABLE is
# not among them: a full queue says it too, and whether anybody is there is found out by asking.
REPLICAS_FAULTS = frozenset({Code.UNKNOWN, Code.INTERNAL, Code.DATA_LOSS, Code.NOT_FOUND, Code.DEADLINE_EXCEEDED})


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
    is_replicas_fault: bool = False  # or the replica may be at fault, which the others' calls tell
    ended_ns: int = 0  # on the clock of costs


@dataclass(frozen=True, slots=True)
class Copied:
    """What became of a call beside the batches: its response, or the error in its place."""

    response: wire.Message | None
    error: ServingError | None
    replica: str
    seconds: float
    charged_ns: int


class _NotBatchMajor(ServingError):
    """The answer to a merged request can't be cut into its riders' rows."""


class Calls:
    """Makes the upstream calls of one backend's batches, and shares out their busy time."""

    # Mutable: `apart` servables whose requests are not merged, as somebody said; `_upstreams`, `_meters` per replica; `_caps` that backends named; `_unbatchable` (servable, path, signature) found not to be batch-major, as
    # many as the models have signatures.

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        *,
        clock: Callable[[], float],
        clock_ns: Callable[[], int],
        on_batch: Callable[[BatchRecord], None],
        caps: Caps,
    ) -> None:
        self._upstreams = list(upstreams)
        self._meters = [cost.BusyMeter() for _ in upstreams]
        self._clock = clock
        self._clock_ns = clock_ns
        self._on_batch = on_batch
        self._caps = caps
        self._call_ids = itertools.count(1)
        self._unbatchable: set[tuple[Servable, str, str]] = set()
        self.apart: frozenset[Servable] = frozenset()

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
        return servable not in self.apart and (servable, method.path, signature) not in self._unbatchable

    async def run(self, batch: Batch, waiters: Sequence[Waiter]) -> None:
        """Bring every waiter its answer or an error; return when nothing of the batch is upstream any more."""
        try:
            await self._run_groups(batch, Group(tuple(waiters), batch.pad_to))
        except Exception:  # Bulkhead: one bad batch must not end the service.
            log.exception("batch failed", extra={"servable": str(batch.servable), "riders": len(waiters)})
            for waiter in waiters:
                waiter.fail(InternalError("the gateway failed on the batch of this request; its log says why"))
        finally:
            for waiter in waiters:
                # Nobody is left to wait for nothing, even when an upstream ends its caller by a cancellation.
                waiter.fail(InternalError(f"the call to {self._upstreams[batch.replica].address} was cut off"))

    async def _run_groups(self, batch: Batch, whole: Group) -> None:
        """Send the batch. If that fails for what a rider contains or what the model is, send parts of it, one after the
        other in the batch's slot; those that left or expired meanwhile stay behind."""
        groups, halvings_left, is_first = [whole], halvings_max(len(whole.waiters)), True
        while groups:
            group = groups.pop()
            if not is_first:
                group = group.without_the_done()
            if not group.waiters:
                continue
            cap_before = self._caps.of(batch.servable)
            try:
                await self._run_group(batch, group, is_first=is_first)
            except _NotBatchMajor:
                groups += reversed(group.singly())
            except ServingError as error:
                self._caps.learn(batch.servable, error.message)
                cap = self._caps.of(batch.servable)
                parts = []
                if error.code in CLIENT_FAULTS:
                    parts = group.parts(cap, is_cap_new=cap != cap_before, may_halve=halvings_left > 0)
                for waiter in () if parts else group.waiters:
                    waiter.fail(error)
                groups += reversed(parts)
            halvings_left -= not is_first
            is_first = False

    async def _run_group(self, batch: Batch, group: Group, *, is_first: bool) -> None:
        """Send some riders in one call, or one that is too large in several."""
        cap, first = self._caps.of(batch.servable), group.waiters[0]
        if len(group.waiters) > 1 or group.pad_to is not None:
            await self._run_merged(batch, group, is_first=is_first)
        elif cap is not None and first.rider.rows > cap and first.rider.mergeable:
            await self._run_divided(batch, first, cap, is_first=is_first)
        else:
            # As it came, and the response as it came.
            response, charged_ns = await self._call(batch, first.request, group, is_first=is_first)
            first.answer(self._answer(batch, response, first, first.rider.rows, charged_ns))

    async def _run_merged(self, batch: Batch, group: Group, *, is_first: bool) -> None:
        """Send riders as one request, and hand each its rows of the answer."""
        method, rows = group.waiters[0].method, [waiter.rider.rows for waiter in group.waiters]
        request = method.join([waiter.request for waiter in group.waiters], group.pad_to)
        response, charged_ns = await self._call(batch, request, group, is_first=is_first)
        try:
            parts = method.split(response, rows, group.pad_to)
        except InternalError as error:
            signature = method.signature_of(request)
            self._unbatchable.add((batch.servable, method.path, signature))
            log.warning(
                "model is not batch-major: its requests go alone from now on",
                extra={"servable": str(batch.servable), "signature": signature, "reason": error.message},
            )
            raise _NotBatchMajor from error
        shares_ns = cost.share(charged_ns, rows)
        for waiter, part, share_ns in zip(group.waiters, parts, shares_ns, strict=True):
            waiter.answer(self._answer(batch, part, waiter, sum(rows), share_ns))

    async def _run_divided(self, batch: Batch, waiter: Waiter, rows_max: int, *, is_first: bool) -> None:
        """Send one rider in pieces that the backend takes, one after the other."""
        sizes, group = pieces.sizes_of(waiter.rider.rows, rows_max), Group((waiter,))
        responses: list[wire.Message] = []
        charged_ns = 0
        for size, piece in zip(sizes, waiter.method.divide(waiter.request, sizes), strict=True):
            response, ns = await self._call(batch, piece, group, is_first=is_first and not responses, rows=size)
            responses.append(response)
            charged_ns += ns
        waiter.answer(self._answer(batch, waiter.method.unite(responses, sizes), waiter, sizes[0], charged_ns))

    def _answer(self, batch: Batch, response: wire.Message, waiter: Waiter, call_rows: int, charged_ns: int) -> Answer:
        replica = self._upstreams[batch.replica].address
        return Answer(response, waiter.rider.rows, replica, call_rows, charged_ns)

    async def _call(
        self, batch: Batch, request: wire.Message, group: Group, *, is_first: bool, rows: int | None = None
    ) -> tuple[wire.Message, int]:
        """Make one upstream call, of `rows` if not all of the group's, and record it; return its response and what it is
        charged, in ns."""
        waiters, method = group.waiters, group.waiters[0].method
        upstream, meter = self._upstreams[batch.replica], self._meters[batch.replica]
        call_id = next(self._call_ids)
        label: str | None = InternalError.label
        code: Code | None = None
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
            code = error.code
            raise
        finally:
            ended_ns = self._clock_ns()
            charged_ns = meter.ended(call_id, ended_ns)
            record = BatchRecord(
                servable=batch.servable,
                replica=upstream.address,
                riders=len(waiters),
                rows=rows or group.rows,
                seconds=(ended_ns - started_ns) / 1e9,
                waits_s=tuple(sent_at - waiter.since for waiter in waiters) if is_first else (),
                charged_ns=charged_ns,
                is_probe=batch.is_probe and is_first,
                pad_to=group.pad_to,
                error=label,
                is_clients_fault=code in CLIENT_FAULTS,
                is_replicas_fault=code in REPLICAS_FAULTS,
                ended_ns=ended_ns,
            )
            self._on_batch(record)
        return response, charged_ns

    async def copy(self, index: int, method: Method, body: bytes, timeout_s: float) -> Copied:
        """Make a call beside the batches: metered as any other, and told to nobody but its caller."""
        upstream, meter, call_id = self._upstreams[index], self._meters[index], next(self._call_ids)
        response: wire.Message | None = None
        failed: ServingError | None = None
        charged_ns = 0
        started_ns = self._clock_ns()
        meter.started(call_id, started_ns)
        try:
            response = _parse(method, await upstream.call(method.path, body, timeout_s), upstream.address)
        except ServingError as error:
            failed = error
        finally:
            ended_ns = self._clock_ns()
            charged_ns = meter.ended(call_id, ended_ns)
        return Copied(response, failed, upstream.address, (ended_ns - started_ns) / 1e9, charged_ns)


def _parse(method: Method, body: bytes, address: str) -> wire.Message:
    """Parse a backend's answer; what can't be read is its fault, not the client's."""
    try:
        return wire.parse(method.response, body)
    except InvalidArgument as error:
        name = method.response.DESCRIPTOR.name
        raise InternalError(f"{address} answered {len(body)} bytes that are no {name}") from error
