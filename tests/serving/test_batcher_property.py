"""Random histories of the batcher and the pace together: nothing lost, nothing doubled, bounds hold, deadlines kept."""

import copy
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from serving.batcher import PROBE_HOLD_MAX_S, Batch, Batcher, BatchLimits, Rider
from serving.errors import QueueFull
from serving.upstream import Servable

V1 = Servable("tfs-a", "digits", 1)
V2 = Servable("tfs-a", "digits", 2)


class BatcherMachine(RuleBasedStateMachine):
    """Random histories against a model that only remembers where each rider is."""

    @initialize(
        max_rows=st.integers(1, 12),
        max_in_flight=st.integers(1, 3),
        replicas=st.integers(1, 3),
        queue_rows=st.integers(1, 30),
        queue_bytes=st.integers(1, 300),
        max_bytes=st.integers(1, 150),
        latency_s=st.sampled_from([None, 0.05, 0.5]),
        is_learned=st.booleans(),
        allowed=st.sampled_from([(), (4,), (2, 8)]),
        is_prompt=st.booleans(),
        gather_s=st.sampled_from([0.0, 0.05]),
    )
    def start(
        self,
        max_rows: int,
        max_in_flight: int,
        replicas: int,
        queue_rows: int,
        queue_bytes: int,
        max_bytes: int,
        latency_s: float | None,
        is_learned: bool,
        allowed: tuple[int, ...],
        is_prompt: bool,
        gather_s: float,
    ) -> None:
        """`is_prompt`: it is polled as the shell does, at once after whatever asks for it. `gather_s`: the longest wait for
        company in this history."""
        self.gather_s = gather_s
        self.is_prompt = is_prompt
        self.allowed = allowed if latency_s is not None else ()
        self.limits = BatchLimits(
            max_rows,
            max_in_flight,
            queue_rows,
            queue_bytes,
            max_bytes,
            latency_s,
            is_in_flight_learned=is_learned and latency_s is not None,
            allowed_rows={"digits": self.allowed} if self.allowed else {},
        )
        self.replicas = replicas
        self.batcher = Batcher(self.limits, replicas)
        self.now = 0.0
        self.queued: dict[int, Rider] = {}
        self.since: dict[int, float] = {}
        self.sent: dict[int, Batch] = {}
        self.gone: set[int] = set()
        self.probes: dict[Servable, int] = {}
        self.next_id = 0
        # Polled since anything happened but riders that are not to be polled for; the shell looks again at `wake_at`.
        self.is_settled = True
        self.wake_at = float("inf")

    @rule(
        rows=st.integers(1, 15),
        size_bytes=st.integers(0, 100),
        key=st.sampled_from("ab"),
        servable=st.sampled_from([V1, V2]),
        patience=st.floats(0.001, 8.0),
        mergeable=st.booleans(),
        client=st.sampled_from([1, 1, 1, 2, 3]),
    )
    def add(
        self,
        rows: int,
        size_bytes: int,
        key: str,
        servable: Servable,
        patience: float,
        mergeable: bool,
        client: int,
    ) -> None:
        self.next_id += 1
        one = Rider(self.next_id, key, servable, rows, size_bytes, self.now + patience, mergeable, client)
        rows_after = sum(other.rows for other in self.queued.values()) + rows
        bytes_after = sum(other.size_bytes for other in self.queued.values()) + size_bytes
        part = self.limits.queue_rows / 8
        has_part = sum(other.rows for other in self.queued.values() if other.client == client) > part
        most = self.limits.queue_rows - part * has_part
        is_full = (bool(self.queued) and rows_after > most) or bytes_after > self.limits.queue_bytes
        if is_full:
            with pytest.raises(QueueFull):
                self.batcher.add(one, self.now)
        else:
            is_to_poll = self.batcher.add(one, self.now)
            self.queued[one.id] = one
            self.since[one.id] = self.now
            self.wake_at = min(self.wake_at, one.deadline)
            if is_to_poll:
                self.changed()
            elif self.is_settled:
                self.check_that_a_poll_does_nothing()

    @rule(riders=st.lists(st.tuples(st.integers(1, 3), st.floats(0.001, 1.0), st.booleans()), min_size=2, max_size=6))
    def add_several(self, riders: list[tuple[int, float, bool]]) -> None:
        for rows, patience, mergeable in riders:
            self.add(rows, 10, "a", V1, patience, mergeable, 1)

    def changed(self) -> None:
        """Something has happened that is to be polled for."""
        self.is_settled = False
        if self.is_prompt:
            self.poll()

    def check_that_a_poll_does_nothing(self) -> None:
        plan = copy.deepcopy(self.batcher).poll(self.now)
        assert (plan.send, plan.expired, plan.hopeless, plan.shed) == ((), (), (), ())

    @precondition(lambda self: self.next_id > 0)
    @rule(choice=st.integers(0))
    def withdraw(self, choice: int) -> None:
        rider_id = choice % self.next_id + 1
        assert self.batcher.withdraw(rider_id) == (rider_id in self.queued)
        self.queued.pop(rider_id, None)
        self.changed()

    @precondition(lambda self: self.sent)
    @rule(choice=st.integers(0), seconds=st.none() | st.floats(0.0, 1.0))
    def done(self, choice: int, seconds: float | None) -> None:
        batch = self.sent.pop(sorted(self.sent)[choice % len(self.sent)])
        if seconds is not None:
            ended_ns = 10**10 + int(self.now * 1e9)
            began_ns = ended_ns - int(seconds * 1e9)
            rows = batch.pad_to or batch.rows
            self.batcher.answered(batch.servable, batch.replica, rows, began_ns, ended_ns, self.now)
        self.batcher.done(batch.id)
        self.gone.update(one.id for one in batch.riders)
        self.changed()

    @rule(servable=st.sampled_from([V1, V2]), rows=st.integers(1, 15))
    def probe(self, servable: Servable, rows: int) -> None:
        self.batcher.probe(servable, rows)
        self.probes[servable] = min(rows, self.limits.max_rows)
        self.changed()

    @rule(share=st.sampled_from([0.0, 0.5, 1.0]))
    def gather(self, share: float) -> None:
        self.batcher.gather(share * self.gather_s)

    @rule(seconds=st.floats(0.0, 3.0) | st.floats(0.0, 0.02))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        if self.now >= self.wake_at:
            self.changed()

    @rule()
    def poll(self) -> None:
        plan = self.batcher.poll(self.now)
        self.is_settled = True
        self.wake_at = float("inf") if plan.wake_at is None else plan.wake_at
        for one in plan.expired:
            assert self.queued.pop(one.id).deadline <= self.now
        for one, fastest_s in plan.hopeless:
            assert self.now < self.queued.pop(one.id).deadline <= self.now + fastest_s
            assert self.limits.latency_s is not None
        assert all(one.deadline > self.now for one in self.queued.values())
        for batch in plan.send:
            self.check(batch)
        if not self.queued:
            assert plan.wake_at is None
            return
        assert plan.wake_at is not None
        assert self.now < plan.wake_at <= min(one.deadline for one in self.queued.values())
        self.check_that_no_slot_is_idle()

    def check_that_no_slot_is_idle(self) -> None:
        """While somebody waits who has gathered company no replica is empty, and only probes keep a slot free: one reserved
        replica, and theirs."""
        waiting = [one for one in self.queued.values() if self.now >= self.since[one.id] + self.gather_s]
        if not waiting:
            return
        loads = [0] * self.replicas
        for batch in self.sent.values():
            loads[batch.replica] += 1
        assert min(loads) > 0
        if any(one.servable not in self.probes for one in waiting):
            slots = [self.batcher.replicas.pace(replica).slots for replica in range(self.replicas)]
            assert all(1 <= one <= self.limits.max_in_flight for one in slots)
            with_room = {replica for replica, load in enumerate(loads) if load < slots[replica]}
            with_room -= {batch.replica for batch in self.sent.values() if batch.is_probe}
            is_one_reserved = any(one.servable in self.probes and one.mergeable for one in self.queued.values())
            assert len(with_room) <= is_one_reserved

    def check(self, batch: Batch) -> None:
        """A batch that leaves is made of queued riders that may share it, and fits its slot and its bounds."""
        on_replica = [other for other in self.sent.values() if other.replica == batch.replica]
        assert len(on_replica) < self.limits.max_in_flight
        assert 0 <= batch.replica < self.replicas
        assert batch.id not in self.sent
        for one in batch.riders:
            assert self.queued.pop(one.id) == one
            assert (one.servable, one.key) == (batch.servable, batch.key)
        assert batch.rows == sum(one.rows for one in batch.riders)
        if len(batch.riders) > 1:
            assert all(one.mergeable for one in batch.riders)
            assert batch.rows <= max(self.limits.max_rows, *self.allowed, 0)
            assert sum(one.size_bytes for one in batch.riders) <= self.limits.max_bytes
        if batch.is_probe:
            probe_rows = self.probes.pop(batch.servable)
            assert on_replica == []
            size_bytes = sum(one.size_bytes for one in batch.riders)
            is_within = batch.rows <= probe_rows and probe_rows * size_bytes <= self.limits.max_bytes * batch.rows
            assert batch.pad_to == (probe_rows if is_within else None)
        elif batch.riders[0].mergeable and self.allowed and batch.rows < self.allowed[-1]:
            assert batch.pad_to is None or batch.pad_to in self.allowed
            assert (batch.pad_to or batch.rows) in self.allowed
        else:
            assert batch.pad_to is None
        self.check_that_seats_are_shared_out(batch)
        self.sent[batch.id] = batch

    def check_that_seats_are_shared_out(self, batch: Batch) -> None:
        """Nobody has a second seat while another client who could ride along has none."""
        seats = Counter(one.client for one in batch.riders)
        left = {
            one.client
            for one in self.queued.values()
            if one.mergeable and (one.servable, one.key) == (batch.servable, batch.key)
        }
        assert max(seats.values()) == 1 or not batch.riders[0].mergeable or left <= seats.keys()
        deadlines = [one.deadline for one in batch.riders]
        assert deadlines == sorted(deadlines) or max(seats.values()) > 1

    @invariant()
    def everybody_is_somewhere(self) -> None:
        for servable in (V1, V2):
            waiting = [one for one in self.queued.values() if one.servable == servable]
            under_way = [len(batch.riders) for batch in self.sent.values() if batch.servable == servable]
            assert self.batcher.queued(servable) == len(waiting)
            assert self.batcher.in_flight(servable) == sum(under_way)

    @invariant()
    def the_queue_is_within_its_bounds(self) -> None:
        rows = [one.rows for one in self.queued.values()]
        assert len(rows) <= 1 or sum(rows) <= max(self.limits.queue_rows, *rows)
        assert sum(one.size_bytes for one in self.queued.values()) <= self.limits.queue_bytes

    def teardown(self) -> None:
        """However it went, once calls end and time passes everybody is answered and nothing is left behind."""
        while self.queued or self.sent:
            self.poll()
            for batch_id in list(self.sent):
                self.batcher.done(self.sent.pop(batch_id).id)
            self.now += PROBE_HOLD_MAX_S
        assert all(line.probe_rows is not None for line in self.batcher._lines.values())


TestBatcherMachine = BatcherMachine.TestCase
TestBatcherMachine.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
