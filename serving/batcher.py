"""When to send which batch where: a free slot sends at once, and while every slot is busy the batch grows.

Pure: no IO, no clock; `now` and deadlines are seconds on one clock. The shell tells what happened (`add`, `withdraw`,
`done`) and does what `poll` returns. A queue waits for a slot, never for company, so there are no timers but deadlines.
"""

import functools

from serving.admission import Admission
from serving.batches import Batch, BatchLimits, Plan
from serving.caps import Caps
from serving.errors import DeadlineExceeded
from serving.pace import PaceLimits
from serving.queues import Line, Rider
from serving.slots import Slots
from serving.upstream import Servable

__all__ = ["PROBE_HOLD_MAX_S", "PROBE_PAUSE_S", "Batch", "BatchLimits", "Batcher", "Plan", "Rider"]

# A probe may hold its servable's queue and one replica no longer than this, first while the replica empties and again
# while the probe runs alone. Batches are meant to take 80 ms (`latency_ms`), so it is ample for a healthy replica; and
# a call that hangs must not stop its neighbours for its whole timeout.
PROBE_HOLD_MAX_S = 2.0
# A probe that found no empty replica in that time lets the traffic go on for this long before the next attempt, so
# that a slow or broken backend loses at most a tenth of its time to attempts.
PROBE_PAUSE_S = 20.0
# A probe that finds copies under way would measure them, too. It is put off by as much as a copy may well take, and the
# traffic goes on; no copy begins before it has had its chance.
_COPY_S = 0.05
# While every slot is busy a poll changes nothing but what is known of a flood, which lasts for 300 ms before it is one.
_POLL_PAUSE_MAX_S = 0.05


class Batcher:
    """The queues of one backend, over all its servables, and the slots of its replicas, which they share.

    The servable with the earliest deadline goes first, from the lane that holds that rider, with others of the lane
    (queues.py). A batch goes to the replica with the fewest batches, then rows, then to the one that was used longest ago.
    """

    # Mutable: `_lines` by servable, none idle; `_queued` id -> rider, and `admission` that counts them; `_sent` batches
    # not done; `replicas`, what is on them and what they bear; `caps` of the backend; `_gather_s` how long what is not full
    # is kept for company (gathering.py); `_last_batch` the last batch's id;
    # `_copies_not_before` until when copies make way for a probe; `_polled_at` when it was polled last.

    def __init__(self, limits: BatchLimits, replicas: int) -> None:
        self._limits = limits
        self.replicas = Slots(
            replicas,
            PaceLimits(limits.max_rows, limits.max_in_flight, limits.latency_s, limits.is_in_flight_learned),
        )
        self.caps = Caps()
        self._gather_s = 0.0
        self._lines: dict[Servable, Line] = {}
        self._queued: dict[int, Rider] = {}
        self.admission = Admission(limits)
        self._sent: dict[int, Batch] = {}
        self._last_batch = 0
        self._copies_not_before = self._polled_at = float("-inf")

    def __repr__(self) -> str:
        queued = f"{len(self._queued)} riders ({self.admission.rows} rows, {self.admission.size_bytes} bytes) queued"
        return f"<Batcher {queued}, {self.replicas} slots busy>"

    def add(self, rider: Rider, now: float) -> bool:
        """Let a rider queue, and say whether to poll for it: if not, it can only wait, for a slot or its deadline.

        QueueFull when it may not (admission.py), DeadlineExceeded when it comes too late.
        """
        if rider.deadline <= now:
            raise DeadlineExceeded(
                f"the deadline passed {now - rider.deadline:.3f} s before the request could queue", "arrival"
            )
        load = self._load(rider) if self.admission.is_flooded(now) else 0.0
        self.admission.let_in(rider, load, now, self._lines)
        is_due = self._lines.setdefault(rider.servable, Line()).join(rider, now, self._gather_s)
        # The first of all has nobody before it who has set the time to look again.
        is_due |= not self._queued or now >= self._polled_at + _POLL_PAUSE_MAX_S
        self._queued[rider.id] = rider
        return is_due or rider.deadline <= now + self._fastest_s(rider.servable, now) or self._may_go(rider, now)

    def _may_go(self, rider: Rider, now: float) -> bool:
        """Whether a batch may go with this rider: a slot is free, and what it is kept for is there."""
        line = self._lines[rider.servable]
        rows, is_kept = line.queue.rows, line.kept_until > now
        return any(
            self.replicas.has_room(index)
            and ((not is_kept and self.replicas.pace(index).kept_until() <= now) or self._is_ready(rider, rows, index))
            for index in self.replicas.open_places()
        )

    def withdraw(self, rider_id: int) -> bool:
        """Take a rider out of the queue; False when it is not there (sent, expired or never added)."""
        if (rider := self._queued.get(rider_id)) is not None:
            self._remove(rider)
        return rider is not None

    def spare(self, now: float) -> int | None:
        """Return a replica that has room for a call beside all that rides here; None when anything waits."""
        return None if self._queued or now < self._copies_not_before else self.replicas.spare(now)

    def answered(
        self, servable: Servable, replica: int, rows: int, began_ns: int, ended_ns: int, now: float, padding: int = 0
    ) -> None:
        """Learn from an answered call; `padding` of its rows are nobody's. The times are of a finer clock than `now`."""
        self.admission.answered(servable)
        seen = {"is_pressed": bool(self._queued), "is_busy": not self.replicas.has_room(replica)}
        self.replicas.pace(replica).ended(servable, rows, began_ns, ended_ns, now, padding=padding, **seen)

    def done(self, batch_id: int) -> None:
        """Free the slot of a batch whose call has really ended."""
        batch = self._sent.pop(batch_id)
        self.replicas.leave(batch.replica, batch.rows, batch_id, is_probe=batch.is_probe)
        self._lines[batch.servable].in_flight -= len(batch.riders)
        self._forget_if_idle(batch.servable)

    def probe(self, servable: Servable, rows: int) -> None:
        """Make the servable's next mergeable batch a probe: alone on an empty replica, padded to `rows`.

        Its riders have at most `rows` rows together; one that has more, or larger ones, goes unpadded. Until a replica is
        empty the servable's queue waits and one replica gets nothing new. While nothing is queued nothing is held; after
        `PROBE_HOLD_MAX_S` all goes on, and the probe is tried again later. A later call replaces an earlier one.
        """
        if rows < 1:
            raise ValueError(f"a probe needs at least 1 row, got {rows}")
        self._lines.setdefault(servable, Line()).probe_rows = min(rows, self._limits.max_rows)

    def gather(self, seconds: float) -> None:
        """Keep what is not full so long for company from now on."""
        self._gather_s = seconds

    def in_flight(self, servable: Servable) -> int:
        """Riders sent whose batch is not done."""
        return line.in_flight if (line := self._lines.get(servable)) else 0

    def queued(self, servable: Servable) -> int:
        """Riders that wait."""
        return len(line.queue) if (line := self._lines.get(servable)) else 0

    def poll(self, now: float) -> Plan:
        """Decide what goes out now. Call it when `add` says so, after every other change, and at the plan's `wake_at`."""
        self._polled_at = now
        expired = [rider for line in self._lines.values() for rider in line.queue.due(now)]
        for rider in expired:
            self._remove(rider)
        hopeless = []
        for servable, line in list(self._lines.items()):
            fastest_s = self._fastest_s(servable, now)
            for rider in line.queue.due(now + fastest_s) if fastest_s else ():
                self._remove(rider)
                hopeless.append((rider, fastest_s))
        send = []
        while (batch := self._next_batch(now)) is not None:
            send.append(batch)
        shed = self._shed(now)
        return Plan(tuple(send), tuple(expired), self._wake_at(now), tuple(hopeless), shed)

    def _shed(self, now: float) -> tuple[Rider, ...]:
        """When a flood begins, take out of the queue what can't be answered in time: the oldest, who are late already."""
        strain = self._strain() if self.admission.is_crowded else 0.0
        if not self.admission.begins_flood(strain, now):
            return ()
        shed = []
        for rider in sorted(self._queued.values(), key=lambda one: one.id):
            if self._load() <= 1:
                break
            self._remove(rider)
            shed.append(rider)
        return tuple(shed)

    def _strain(self) -> float:
        """Say how long all that is queued will take in full batches, in units of what is wished or can't be helped."""
        places = self.replicas.open_places()
        wait_s, answer_s = 0.0, self._limits.latency_s or float("inf")
        for servable, line in self._lines.items():
            for index in places if line.queue else ():
                pace, rows_max = self.replicas.pace(index), self.rows_max(servable, index)
                batches = line.queue.rows / len(places) / rows_max
                wait_s += batches * pace.seconds(servable, rows_max) / len(places)
                answer_s = max(answer_s, pace.answer_s(servable))
        return wait_s / answer_s

    def _load(self, rider: Rider | None = None) -> float:
        """Say how long all that is queued would take, with this rider, as a share of `latency_s`."""
        load = 0.0
        for servable, line in self._lines.items():
            rows = line.queue.rows + (rider.rows if rider is not None and rider.servable == servable else 0)
            bearable = sum(self.replicas.pace(index).queue_rows(servable) for index in self.replicas.open_places())
            load += rows / bearable if bearable else 0.0
        return load

    def rows_max(self, servable: Servable, replica: int) -> int:
        """Return how many rows a merged batch may have there now."""
        rows = min(self.replicas.pace(replica).rows_max(servable), self.caps.of(servable) or self._limits.max_rows)
        sizes = self._limits.allowed_rows.get(servable.model, ())
        # A smaller batch would be padded up to the smallest size.
        return max((size for size in sizes if size <= rows), default=sizes[0]) if sizes else rows

    def rows_max_by_servable(self) -> dict[Servable, int]:
        """Return how many rows a batch may have of servables used lately, on the replica that takes most."""
        found: dict[Servable, int] = {}
        for index in self.replicas.open_places():
            for servable in self.replicas.pace(index).servables:
                found[servable] = max(found.get(servable, 1), self.rows_max(servable, index))
        return found

    def _fastest_s(self, servable: Servable, now: float) -> float:
        places = self.replicas.open_places()
        return min((self.replicas.pace(index).fastest_s(servable, now) for index in places), default=0.0)

    def _next_batch(self, now: float) -> Batch | None:
        """Send the most urgent batch that may go; None when none may."""
        if not (self.replicas.has_any_room() or self._is_probing()):
            return None
        waiting = [(first, line) for line in self._lines.values() if (first := line.queue.most_urgent()) is not None]
        waiting.sort(key=lambda entry: (entry[0].deadline, entry[0].id))
        self._put_off(waiting, now)
        self._hold(waiting, now)
        for rider, line in waiting:
            is_probe, is_ready = line.wants_probe(rider, now), functools.partial(self._is_ready, rider, line.queue.rows)
            replica = self.replicas.freest(now, is_probe=is_probe, is_kept=line.kept_until > now, is_ready=is_ready)
            if replica is not None:
                return self._send(line, rider, replica, now)
        return None

    def _is_probing(self) -> bool:
        """Whether a probe is wanted, or a replica was kept free for one."""
        return self.replicas.is_reserved or any(line.probe_rows is not None for line in self._lines.values())

    def _put_off(self, waiting: list[tuple[Rider, Line]], now: float) -> None:
        """Put off the probes that would begin while copies are under way."""
        for rider, line in waiting:
            if self.replicas.is_copying and line.wants_probe(rider, now):
                line.hold_not_before = now + _COPY_S
                self._copies_not_before = now + PROBE_HOLD_MAX_S

    def _is_ready(self, urgent: Rider, rows: int, replica: int) -> bool:
        """Whether a batch gains nothing by waiting for company."""
        return not urgent.mergeable or rows >= self.rows_max(urgent.servable, replica)

    def _hold(self, waiting: list[tuple[Rider, Line]], now: float) -> None:
        """Start, continue or end the waits for an empty replica, and reserve one replica while there are any."""
        is_any_held = False
        for rider, line in waiting:
            if line.hold_until is not None and line.hold_until <= now:
                line.hold_until = None
                line.hold_not_before = now + PROBE_PAUSE_S
            if line.wants_probe(rider, now):
                is_any_held = True
                if line.hold_until is None:
                    line.hold_until = now + PROBE_HOLD_MAX_S
        self.replicas.reserve(is_wanted=is_any_held)

    def _send(self, line: Line, urgent: Rider, index: int, now: float) -> Batch:
        """Take the head of the urgent rider's lane out of the queue and put it on a replica."""
        servable = urgent.servable
        cap = self.caps.of(servable) or self._limits.max_rows
        probe_rows = min(line.probe_rows or 1, cap) if line.wants_probe(urgent, now) else None
        riders = line.queue.take(urgent, probe_rows or self.rows_max(servable, index), self._limits.max_bytes)
        rows = sum(rider.rows for rider in riders)
        line.in_flight += len(riders)
        for rider in riders:
            self._forget(rider)
        self._last_batch += 1
        alone_until = float("-inf") if probe_rows is None else now + PROBE_HOLD_MAX_S
        self.replicas.take(index, servable, rows, self._last_batch, now, alone_until)
        pad_to = self._limits.padded(servable, rows) if urgent.mergeable else None
        if probe_rows is not None:
            line.probe_rows = line.hold_until = None
            self._copies_not_before = float("-inf")
            size_bytes = sum(rider.size_bytes for rider in riders)
            pad_to = probe_rows if self._limits.is_affordable(probe_rows, rows, size_bytes) else None
        batch = Batch(self._last_batch, servable, urgent.key, riders, rows, index, pad_to, probe_rows is not None)
        self._sent[batch.id] = batch
        return batch

    def _remove(self, rider: Rider) -> None:
        """Take a rider out of the queue, whatever becomes of it."""
        self._lines[rider.servable].queue.remove(rider)
        self._forget(rider)

    def _forget(self, rider: Rider) -> None:
        """Count a rider no more that was taken out of the queue."""
        line = self._lines[rider.servable]
        if not line.queue:
            line.hold_until = None
        del self._queued[rider.id]
        self.admission.leave(rider)
        self._forget_if_idle(rider.servable)

    def _forget_if_idle(self, servable: Servable) -> None:
        """Keep no state of a servable that is not used any more: versions come and go for years."""
        line = self._lines[servable]
        if not line.queue and line.in_flight == 0 and line.probe_rows is None:
            del self._lines[servable]

    def _wake_at(self, now: float) -> float | None:
        """Return when a rider expires or a hold ends, if nothing else happens before; None while nobody waits."""
        times = [at for line in self._lines.values() for at in line.wake_at(now)]
        return min(times + self.replicas.wake_at(now)) if times else None
