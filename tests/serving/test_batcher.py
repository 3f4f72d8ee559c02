"""The batcher as a pure machine: examples by hand, then a state machine that tries to lose, double or overfill."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from serving.batcher import PROBE_HOLD_MAX_S, PROBE_PAUSE_S, Batch, Batcher, BatchLimits, Plan, Rider
from serving.errors import DeadlineExceeded, QueueFull
from serving.queues import Queue
from serving.upstream import Servable

V1 = Servable("tfs-a", "digits", 1)
V2 = Servable("tfs-a", "digits", 2)


def limits(**changed: int) -> BatchLimits:
    return BatchLimits(**({"max_rows": 8, "max_in_flight": 1, "queue_rows": 20, "queue_bytes": 2_000} | changed))


def rider(
    number: int,
    rows: int = 1,
    *,
    key: str = "a",
    servable: Servable = V1,
    deadline: float = 10.0,
    mergeable: bool = True,
) -> Rider:
    return Rider(number, key, servable, rows, 10 * rows, deadline, mergeable)


def ids(plan: Plan) -> list[list[int]]:
    return [[one.id for one in batch.riders] for batch in plan.send]


def busy(replicas: int = 1, **changed: int) -> tuple[Batcher, list[Batch]]:
    """A batcher whose slots are all taken by single riders with ids from 1000 on, and their batches."""
    batcher = Batcher(limits(**changed), replicas)
    sent: list[Batch] = []
    for slot in range(replicas * changed.get("max_in_flight", 1)):
        batcher.add(rider(1000 + slot, mergeable=False), 0.0)
        sent += batcher.poll(0.0).send
    return batcher, sent


def test_a_free_slot_sends_at_once() -> None:
    batcher = Batcher(limits(), 1)
    batcher.add(rider(1), 0.0)

    assert ids(batcher.poll(0.0)) == [[1]]


def test_while_all_slots_are_busy_the_batch_grows_up_to_max_rows() -> None:
    batcher, (first,) = busy()
    for number in range(5):
        batcher.add(rider(number, rows=2), 0.0)

    assert ids(batcher.poll(0.0)) == []
    batcher.done(first.id)
    (batch,) = batcher.poll(0.1).send
    assert [one.id for one in batch.riders] == [0, 1, 2, 3]
    assert batch.rows == 8
    assert batcher.queued(V1) == 1
    assert batcher.in_flight(V1) == 4


def test_a_batch_is_bounded_in_bytes_too() -> None:
    batcher, (first,) = busy(max_bytes=30)
    for number in range(3):
        batcher.add(rider(number, rows=2), 0.0)

    batcher.done(first.id)
    assert ids(batcher.poll(0.1)) == [[0]]


def test_a_request_larger_than_a_batch_goes_alone() -> None:
    batcher, (first,) = busy()
    batcher.add(rider(1, rows=12), 0.0)
    batcher.add(rider(2), 0.0)

    batcher.done(first.id)
    assert ids(batcher.poll(0.1)) == [[1]]


@pytest.mark.parametrize("other", [rider(2, key="b"), rider(2, servable=V2), rider(2, mergeable=False)])
def test_only_equal_keys_of_one_servable_share_a_batch(other: Rider) -> None:
    batcher, (first,) = busy()
    batcher.add(rider(1), 0.0)
    batcher.add(other, 0.0)

    batcher.done(first.id)
    assert ids(batcher.poll(0.1)) == [[1]]


def test_the_earliest_deadline_goes_first_and_takes_the_head_of_its_lane() -> None:
    batcher, (first,) = busy()
    batcher.add(rider(1, deadline=5.0), 0.0)
    batcher.add(rider(2, key="b", deadline=9.0), 0.0)
    batcher.add(rider(3, key="b", deadline=2.0), 0.0)

    batcher.done(first.id)
    assert ids(batcher.poll(0.1)) == [[2, 3]]


def test_the_earliest_deadline_goes_first_over_all_servables() -> None:
    batcher, (first,) = busy()
    batcher.add(rider(1, deadline=5.0), 0.0)
    batcher.add(rider(2, deadline=2.0, servable=V2), 0.0)

    batcher.done(first.id)
    assert ids(batcher.poll(0.1)) == [[2]]


def test_a_batch_goes_to_the_least_loaded_replica_and_turns_come_round() -> None:
    batcher = Batcher(limits(max_in_flight=2), 3)
    seen = []
    for number in range(6):
        batcher.add(rider(number), 0.0)
        seen.append(batcher.poll(0.0).send[0].replica)
    batcher.done(2)
    batcher.add(rider(9), 0.0)

    assert seen == [0, 1, 2, 0, 1, 2]
    assert batcher.poll(0.0).send[0].replica == 1


def test_idle_replicas_take_turns() -> None:
    batcher = Batcher(limits(), 3)
    seen = []
    for number in range(4):
        batcher.add(rider(number), 0.0)
        (batch,) = batcher.poll(0.0).send
        seen.append(batch.replica)
        batcher.done(batch.id)

    assert seen == [0, 1, 2, 0]


def test_rows_that_came_back_are_no_load() -> None:
    batcher = Batcher(limits(max_in_flight=2), 2)
    seen = []
    for number, rows in enumerate((8, 8, 1, 1, 1)):
        if number == 2:
            batcher.done(1)
        batcher.add(rider(number, rows=rows), 0.0)
        seen.append(batcher.poll(0.0).send[0].replica)
        if number == 3:
            batcher.done(2)

    # The last: replica 0 has one row and replica 1 one, of which the latter's batch is the younger.
    assert seen == [0, 1, 0, 0, 1]


def test_of_equally_many_batches_the_fewer_rows_are_the_lesser_load() -> None:
    batcher = Batcher(limits(max_in_flight=2), 2)
    seen = []
    for number, rows in enumerate((8, 1, 1)):
        batcher.add(rider(number, rows=rows), 0.0)
        seen.append(batcher.poll(0.0).send[0].replica)

    assert seen == [0, 1, 1]


def test_a_full_queue_says_its_bound_and_what_it_saw() -> None:
    batcher, _ = busy(queue_bytes=150)
    batcher.add(rider(1, rows=14), 0.0)

    with pytest.raises(QueueFull, match=r"queue_rows=20: 14 rows wait and this request has 7"):
        batcher.add(rider(2, rows=7), 0.0)
    with pytest.raises(QueueFull, match=r"queue_bytes=150: 140 bytes wait and this request has 20"):
        batcher.add(rider(2, rows=2), 0.0)
    assert batcher.queued(V1) == 1


def test_a_request_larger_than_the_queue_is_let_into_an_empty_one() -> None:
    batcher = Batcher(limits(), 1)
    batcher.add(rider(1, rows=50), 0.0)

    assert ids(batcher.poll(0.0)) == [[1]]


def test_the_expired_are_handed_back_and_never_sent() -> None:
    batcher, (first,) = busy()
    batcher.add(rider(1, deadline=1.0), 0.0)
    batcher.add(rider(2, deadline=3.0), 0.0)

    assert batcher.poll(0.5).wake_at == 1.0
    batcher.done(first.id)
    plan = batcher.poll(1.0)
    assert [one.id for one in plan.expired] == [1]
    assert ids(plan) == [[2]]
    assert plan.wake_at is None


def test_a_request_that_comes_after_its_deadline_is_refused() -> None:
    with pytest.raises(DeadlineExceeded, match=r"passed 0\.500 s before"):
        Batcher(limits(), 1).add(rider(1, deadline=1.0), 1.5)


def test_what_is_withdrawn_is_not_sent() -> None:
    batcher, (first,) = busy()
    batcher.add(rider(1), 0.0)

    assert batcher.withdraw(1)
    assert not batcher.withdraw(1)
    assert not batcher.withdraw(1000)  # on its way already
    batcher.done(first.id)
    assert ids(batcher.poll(0.1)) == []
    assert repr(batcher) == "<Batcher 0 riders (0 rows, 0 bytes) queued, 0 of 1 slots per replica busy>"


def test_a_probe_waits_for_an_empty_replica_and_goes_alone_and_padded() -> None:
    batcher, sent = busy(max_in_flight=2)
    batcher.probe(V2, 4)
    for number in range(3):
        batcher.add(rider(number, rows=2, servable=V2), 0.0)
    batcher.add(rider(5, servable=V1), 0.0)

    batcher.done(sent[0].id)
    assert ids(batcher.poll(0.1)) == []  # One slot is free, but the replica is not empty: nobody else gets it either.
    batcher.done(sent[1].id)
    (probe,) = batcher.poll(0.2).send
    assert ([one.id for one in probe.riders], probe.pad_to, probe.is_probe) == ([0, 1], 4, True)
    batcher.done(probe.id)
    after = batcher.poll(0.3).send
    assert [(batch.pad_to, batch.is_probe) for batch in after] == [(None, False)] * 2
    assert sorted(one.id for batch in after for one in batch.riders) == [2, 5]


def test_other_replicas_go_on_while_one_empties_for_a_probe() -> None:
    batcher, sent = busy(replicas=2)
    batcher.probe(V2, 4)
    batcher.add(rider(1, servable=V2), 0.0)
    batcher.poll(0.0)  # Reserves replica 0, the one used longest ago.
    batcher.add(rider(2), 0.0)

    # Replica 1 is empty first: the probe takes it, and the hold on replica 0 ends.
    batcher.done(sent[1].id)
    (probe,) = batcher.poll(0.1).send
    assert (probe.is_probe, probe.replica) == (True, 1)
    batcher.done(sent[0].id)
    assert ids(batcher.poll(0.2)) == [[2]]


def test_a_probe_of_a_servable_nobody_asks_for_holds_nothing() -> None:
    batcher = Batcher(limits(), 1)
    batcher.probe(V2, 4)
    batcher.add(rider(1), 0.0)

    assert ids(batcher.poll(0.0)) == [[1]]


def test_a_hold_ends_with_the_riders_that_caused_it() -> None:
    batcher, sent = busy(max_in_flight=2)
    batcher.probe(V2, 4)
    batcher.add(rider(1, servable=V2), 0.0)
    batcher.add(rider(2), 0.0)
    batcher.done(sent[0].id)
    assert ids(batcher.poll(0.1)) == []

    batcher.withdraw(1)
    assert ids(batcher.poll(0.1)) == [[2]]


def test_a_probe_that_lost_its_riders_still_waits_its_time_for_the_next_ones() -> None:
    batcher, _ = busy(max_in_flight=2)
    batcher.probe(V1, 4)
    batcher.add(rider(1), 0.0)
    batcher.poll(0.0)
    batcher.withdraw(1)
    batcher.add(rider(2), 1.5)

    assert batcher.poll(1.5).wake_at == 1.5 + PROBE_HOLD_MAX_S


def test_a_probe_that_finds_no_empty_replica_lets_the_traffic_go_on_and_tries_later() -> None:
    batcher, sent = busy(max_in_flight=2)
    batcher.probe(V1, 4)
    batcher.add(rider(1, deadline=100.0), 0.0)
    batcher.done(sent[0].id)

    assert batcher.poll(0.0).wake_at == PROBE_HOLD_MAX_S
    (batch,) = batcher.poll(PROBE_HOLD_MAX_S).send
    assert (batch.is_probe, batch.pad_to) == (False, None)
    batcher.done(batch.id)
    batcher.done(sent[1].id)
    later = PROBE_HOLD_MAX_S + PROBE_PAUSE_S
    batcher.add(rider(2, deadline=100.0), later)
    assert batcher.poll(later).send[0].is_probe


def test_a_probe_that_hangs_does_not_keep_its_replica_for_itself() -> None:
    batcher = Batcher(limits(max_in_flight=2), 1)
    batcher.probe(V1, 4)
    batcher.add(rider(1), 0.0)
    batcher.poll(0.0)
    batcher.add(rider(2), 0.1)

    plan = batcher.poll(0.1)
    assert (plan.send, plan.wake_at) == ((), PROBE_HOLD_MAX_S)
    assert ids(batcher.poll(PROBE_HOLD_MAX_S)) == [[2]]


def test_what_can_not_be_padded_passes_by_a_probe() -> None:
    batcher = Batcher(limits(), 1)
    batcher.probe(V1, 4)
    batcher.add(rider(1, mergeable=False), 0.0)
    (alone,) = batcher.poll(0.0).send
    batcher.done(alone.id)
    batcher.add(rider(2, rows=6), 0.0)
    (larger,) = batcher.poll(0.0).send

    assert (alone.is_probe, alone.pad_to) == (False, None)
    assert (larger.is_probe, larger.pad_to) == (True, None)


def test_a_servable_that_is_gone_leaves_nothing_behind() -> None:
    batcher, (first,) = busy()
    for version in range(100):
        servable = Servable("tfs-a", "digits", version)
        batcher.add(rider(version, servable=servable), 0.0)
        batcher.withdraw(version)
        batcher.add(rider(1000 + version, key=str(version), mergeable=version > 50, deadline=1e9 - version), 0.0)
        batcher.withdraw(1000 + version)
    batcher.done(first.id)

    assert batcher._lines == {}


def test_a_queue_in_use_keeps_nothing_of_those_who_left() -> None:
    queue = Queue()
    for number in range(1000):
        one = rider(number, key=str(number), mergeable=number % 2 == 0, deadline=float(-number))
        queue.add(one)
        if number > 0:
            queue.remove(one)

    assert len(queue) == len(queue._riders) == len(queue._lanes) == len(queue._deadlines._live) == 1
    assert len(queue._deadlines._heap) < 70


class BatcherMachine(RuleBasedStateMachine):
    """Random histories against a model that only remembers where each rider is."""

    @initialize(
        max_rows=st.integers(1, 12),
        max_in_flight=st.integers(1, 3),
        replicas=st.integers(1, 3),
        queue_rows=st.integers(1, 30),
        queue_bytes=st.integers(1, 300),
        max_bytes=st.integers(1, 150),
    )
    def start(
        self, max_rows: int, max_in_flight: int, replicas: int, queue_rows: int, queue_bytes: int, max_bytes: int
    ) -> None:
        self.limits = BatchLimits(max_rows, max_in_flight, queue_rows, queue_bytes, max_bytes)
        self.replicas = replicas
        self.batcher = Batcher(self.limits, replicas)
        self.now = 0.0
        self.queued: dict[int, Rider] = {}
        self.sent: dict[int, Batch] = {}
        self.gone: set[int] = set()
        self.probes: dict[Servable, int] = {}
        self.next_id = 0

    @rule(
        rows=st.integers(1, 15),
        size_bytes=st.integers(0, 100),
        key=st.sampled_from("ab"),
        servable=st.sampled_from([V1, V2]),
        patience=st.floats(0.001, 8.0),
        mergeable=st.booleans(),
    )
    def add(self, rows: int, size_bytes: int, key: str, servable: Servable, patience: float, mergeable: bool) -> None:
        self.next_id += 1
        one = Rider(self.next_id, key, servable, rows, size_bytes, self.now + patience, mergeable)
        rows_after = sum(other.rows for other in self.queued.values()) + rows
        bytes_after = sum(other.size_bytes for other in self.queued.values()) + size_bytes
        is_full = (bool(self.queued) and rows_after > self.limits.queue_rows) or bytes_after > self.limits.queue_bytes
        if is_full:
            with pytest.raises(QueueFull):
                self.batcher.add(one, self.now)
        else:
            self.batcher.add(one, self.now)
            self.queued[one.id] = one

    @precondition(lambda self: self.next_id > 0)
    @rule(choice=st.integers(0))
    def withdraw(self, choice: int) -> None:
        rider_id = choice % self.next_id + 1
        assert self.batcher.withdraw(rider_id) == (rider_id in self.queued)
        self.queued.pop(rider_id, None)

    @precondition(lambda self: self.sent)
    @rule(choice=st.integers(0))
    def done(self, choice: int) -> None:
        batch = self.sent.pop(sorted(self.sent)[choice % len(self.sent)])
        self.batcher.done(batch.id)
        self.gone.update(one.id for one in batch.riders)

    @rule(servable=st.sampled_from([V1, V2]), rows=st.integers(1, 15))
    def probe(self, servable: Servable, rows: int) -> None:
        self.batcher.probe(servable, rows)
        self.probes[servable] = min(rows, self.limits.max_rows)

    @rule(seconds=st.floats(0.0, 3.0))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def poll(self) -> None:
        plan = self.batcher.poll(self.now)
        for one in plan.expired:
            assert self.queued.pop(one.id).deadline <= self.now
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
        """While somebody waits no replica is empty, and only probes keep a slot free: one reserved replica, and theirs."""
        loads = [0] * self.replicas
        for batch in self.sent.values():
            loads[batch.replica] += 1
        assert min(loads) > 0
        if any(one.servable not in self.probes for one in self.queued.values()):
            with_room = {replica for replica, load in enumerate(loads) if load < self.limits.max_in_flight}
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
            assert batch.rows <= self.limits.max_rows
            assert sum(one.size_bytes for one in batch.riders) <= self.limits.max_bytes
        if batch.is_probe:
            probe_rows = self.probes.pop(batch.servable)
            assert on_replica == []
            assert batch.pad_to == (probe_rows if batch.rows <= probe_rows else None)
            assert len(batch.riders) == 1 or batch.pad_to is not None
        else:
            assert batch.pad_to is None
        self.sent[batch.id] = batch

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
