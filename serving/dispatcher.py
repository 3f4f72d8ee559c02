"""The asyncio shell of the batcher: requests become riders, batches become calls, answers find their way back.

One task per batch, a future per request, one timer for all deadlines. A client that leaves takes its request back while
it is queued; afterwards it only stops listening: a call is never cancelled, and its slot is free when it really ended.
"""

import asyncio
import contextlib
import contextvars
import itertools
from collections.abc import Callable, Collection, Hashable, Sequence
from types import TracebackType
from typing import Self

from serving import methods, wire
from serving.batcher import Batch, Batcher, BatchLimits, Rider
from serving.calls import BatchRecord, Calls
from serving.copies import Copies
from serving.errors import DeadlineExceeded, Unavailable
from serving.groups import Answer, Waiter, refusals
from serving.methods import Method
from serving.queues import Deadlines
from serving.upstream import Servable, Upstream

__all__ = ["EXIT_DRAIN_S", "Answer", "BatchRecord", "Dispatcher"]

# How long leaving the `async with` waits for what is under way when `drain` was not called before: a hundred batches.
EXIT_DRAIN_S = 10.0
# By then a replica that a call did not reach has been asked, and is ejected or trusted again.
_SUSPECT_S = 1.0


class Dispatcher:
    """Predictions of one backend, over all its servables and replicas. Made and used, as `async with`, inside a loop.

    Deadlines are in loop time, which `clock` must tell. `clock_ns` measures calls for their cost (in service
    time.perf_counter_ns; by default `clock`). `on_batch` is told of each upstream call that ended, `on_unreached` of the
    address where nobody was; neither may raise.
    """

    # Mutable: `_batcher`; `_waiters` requests not answered, by rider id; `_sent` deadlines of those sent; `_poll_handle`
    # and `_timer` polls to come; `_places` of replicas by address; `_on_replica` who is on which, by batch; `_running` tasks of batches; `_is_closing`; `_all_answered` which drain waits for.

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        limits: BatchLimits,
        *,
        on_batch: Callable[[BatchRecord], None],
        clock: Callable[[], float] | None = None,
        clock_ns: Callable[[], int] | None = None,
        on_unreached: Callable[[str], None] = lambda address: None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = clock or self._loop.time
        self._batcher = Batcher(limits, len(upstreams))
        self._calls = Calls(
            upstreams,
            clock=self._clock,
            clock_ns=clock_ns or (lambda: int(self._clock() * 1e9)),
            on_batch=self._on_call,
            caps=self._batcher.caps,
        )
        self.copies = Copies(self._batcher, self._calls, self._clock)
        self.probe = self._batcher.probe  # of a servable, with so many rows
        self.limit = self._batcher.replicas.limit  # to so many calls on each replica
        self.expect = self._batcher.admission.expect  # requests for what a predicate says
        self.gather = self._batcher.gather  # company for what is not full, for so many seconds
        self._on_batch = on_batch
        self._on_unreached = on_unreached
        self._places = {upstream.address: index for index, upstream in enumerate(upstreams)}
        self._on_replica: dict[int, tuple[int, Sequence[Waiter]]] = {}
        self._rider_ids = itertools.count(1)
        self._waiters: dict[int, Waiter] = {}
        self._sent = Deadlines()
        self._poll_handle: asyncio.Handle | None = None
        self._timer: asyncio.Handle | None = None
        self._timer_at = float("inf")  # uvloop's handle for a time that has just passed doesn't know it
        self._tasks = asyncio.TaskGroup()
        self._running: set[asyncio.Task[None]] = set()
        # Of its own: a batch does not belong to the logging context of whichever request happened to start it.
        self._context = contextvars.Context()
        self._is_closing, self._all_answered = False, asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.drain(EXIT_DRAIN_S if error is None else 0.0)
        finally:
            self._fail_all()
            for task in self._running:
                # This ends our waiting, not the call: an upstream lets it run to its deadline.
                task.cancel()
            try:
                await self._tasks.__aexit__(kind, error, traceback)
            finally:
                for handle in (self._poll_handle, self._timer):
                    if handle is not None:
                        handle.cancel()

    async def predict(
        self,
        servable: Servable,
        request: wire.Message,
        deadline: float,
        method: Method = methods.PREDICT,
        client: Hashable = None,
    ) -> Answer:
        """Return the servable's answer to a request, which is ours from now on (its model_spec is set).

        Seats are shared out between clients; `client` tells them apart.

        Raises ServingError: QueueFull, DeadlineExceeded, Unavailable, InternalError, or what the backend answered.
        """
        if self._is_closing:
            raise Unavailable("the gateway is going down and takes no new requests")
        if not self._batcher.replicas.open_count:
            raise Unavailable(f"no replica of {servable.backend} answers: {', '.join(self._places)}")
        now = self._clock()
        rider = self._rider(servable, request, deadline, method, client)
        is_to_poll = self._batcher.add(rider, now)
        waiter = Waiter(rider, request, self._loop.create_future(), now, method)
        self._waiters[rider.id] = waiter
        self._poll_soon() if is_to_poll else self._set_timer(deadline)
        try:
            return await waiter.future
        finally:
            del self._waiters[rider.id]
            self._sent.discard(rider.id)
            if self._batcher.withdraw(rider.id):
                self._poll_soon()
            if not self._waiters:
                self._all_answered.set()
            del waiter  # its future keeps the error, whose traceback keeps this frame

    def replace(self, upstreams: Sequence[Upstream]) -> None:
        """Send to these replicas from now on; calls on others go on to their end."""
        wanted = {upstream.address: upstream for upstream in upstreams}
        for address in self._places.keys() - wanted.keys():
            self._batcher.replicas.close(self._places.pop(address), is_gone=True)
        for address, upstream in wanted.items():
            if address not in self._places:
                self._places[address] = self._batcher.replicas.add()
                self._calls.put(self._places[address], upstream)
        self._poll_soon()

    def admit(self, address: str, *, is_open: bool) -> None:
        """Send to a replica, or nothing more for now: then who waits there is told, and calls go on in their slots."""
        index = self._places.get(address)
        if index is None:
            return
        if is_open:
            self._batcher.replicas.open(index)
        else:
            self._batcher.replicas.close(index)
            self._leave(index, address)
        self._poll_soon()

    def heard(self, address: str, seconds: float) -> None:
        """Learn how far away a replica is, from the time of an answer that keeps no device busy."""
        if address in self._places:
            self._batcher.replicas.pace(self._places[address]).heard(seconds)

    def _leave(self, index: int, address: str) -> None:
        """Tell those who wait for a replica that was ejected; when none is left, those in the queue too."""
        if self._batcher.replicas.open_count:
            waiters = [one for where, some in self._on_replica.values() if where == index for one in some]
        else:
            waiters = [one for one in self._waiters.values() if self._batcher.withdraw(one.rider.id)]
        for waiter in waiters:
            waiter.fail(Unavailable(f"{address} does not answer"))

    def has_another(self) -> bool:
        """Whether a request that could not reach its replica, which is suspect or out by now, may find another."""
        replicas = self._batcher.replicas
        return replicas.open_count > 1 or replicas.is_any_trusted(self._clock())

    def _on_call(self, record: BatchRecord) -> None:
        is_unreached = record.error == Unavailable.label
        if record.replica in self._places:
            index, now = self._places[record.replica], self._clock()
            if is_unreached:
                self._batcher.replicas.suspect(index, now, now + _SUSPECT_S)
            else:
                self._batcher.replicas.answered(index, now - record.seconds)
            if record.error is None:
                began_ns, rows = record.ended_ns - int(record.seconds * 1e9), record.pad_to or record.rows
                padding = rows - record.rows
                self._batcher.answered(record.servable, index, rows, began_ns, record.ended_ns, now, padding)
        if is_unreached:
            self._on_unreached(record.replica)
        self._on_batch(record)

    def keep_apart(self, servables: Collection[Servable]) -> None:
        """Merge no requests of these, and of no others but those that were seen not to be batch-major."""
        self._calls.apart = frozenset(servables)

    def rows_max(self) -> dict[Servable, int]:
        """Return how many rows a batch may have now, by servables used lately, on the replica that takes most."""
        return self._batcher.rows_max_by_servable()

    def batches(self) -> tuple[int, int]:
        """Return how many batches are upstream now, and how many may be at once, as learned."""
        return len(self._running), self._batcher.replicas.bearable

    def busy_ns(self) -> dict[str, int]:
        """Return each replica's busy time so far, in ns, by address; calls under way are in it up to now."""
        return self._calls.busy_ns()

    def in_flight(self, servable: Servable) -> int:
        """Requests of this servable that are queued, or in a call that has not ended (their clients may have left)."""
        return self._batcher.queued(servable) + self._batcher.in_flight(servable)

    async def drain(self, timeout_s: float) -> None:
        """Refuse new requests, wait until all others are answered, and fail those that are not within `timeout_s`."""
        self._is_closing = True
        if self._waiters:
            self._all_answered.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._all_answered.wait()
        self._fail_all()

    def _fail_all(self) -> None:
        """Give up on whoever is not answered yet."""
        for waiter in self._waiters.values():
            self._batcher.withdraw(waiter.rider.id)
            waiter.fail(Unavailable("the gateway goes down, and the backend had not answered in the time left"))

    def _rider(
        self, servable: Servable, request: wire.Message, deadline: float, method: Method, client: Hashable
    ) -> Rider:
        """Address a request to its servable, whatever it named itself, and measure it."""
        for spec in method.specs(request):
            servable.write_to(spec)
        rows, key = method.measure(request)
        return Rider(
            id=next(self._rider_ids),
            key=(method.path, key),
            servable=servable,
            rows=rows or 1,
            size_bytes=request.ByteSize(),
            deadline=deadline,
            mergeable=rows is not None and self._calls.is_batchable(servable, method, method.signature_of(request)),
            client=client,
        )

    def _poll_soon(self) -> None:
        """Poll in the loop's next round: once for all that happens in this one, so that who came together can ride so."""
        self._poll_handle = self._poll_handle or self._loop.call_soon(self._poll)

    def _poll(self) -> None:
        """Do what the batcher decides: tell the expired, start the batches, set the timer."""
        self._poll_handle = None
        now = self._clock()
        plan = self._batcher.poll(now)
        for waiter, error in refusals(plan, self._waiters, now):
            waiter.fail(error)
        for rider_id in self._sent.take_expired(now):
            waited_s = now - self._waiters[rider_id].since
            reason = f"the deadline passed after {waited_s:.3f} s, with no answer from the backend yet"
            self._waiters[rider_id].fail(DeadlineExceeded(reason))
        for batch in plan.send:
            waiters = tuple(self._waiters[rider.id] for rider in batch.riders)
            for rider in batch.riders:
                self._sent.add(rider.id, rider.deadline)
            task = self._tasks.create_task(self._run(batch, waiters), name=f"batch {batch.id}", context=self._context)
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        self._set_timer(plan.wake_at)

    async def _run(self, batch: Batch, waiters: Sequence[Waiter]) -> None:
        """Make the batch's calls, and keep its slot until all of them have ended."""
        self._on_replica[batch.id] = (batch.replica, waiters)
        try:
            await self._calls.run(batch, waiters)
        finally:
            del self._on_replica[batch.id]
            self._batcher.done(batch.id)
            self._poll_soon()

    def _set_timer(self, wake_at: float | None) -> None:
        """Poll when the next deadline passes. An earlier timer stays: it finds nothing to do, and sets the next one."""
        first_sent = self._sent.earliest()
        if first_sent is not None:
            wake_at = first_sent[0] if wake_at is None else min(wake_at, first_sent[0])
        if wake_at is None or self._timer_at <= wake_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = self._loop.call_at(wake_at, self._on_timer), wake_at

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        self._poll_soon()
