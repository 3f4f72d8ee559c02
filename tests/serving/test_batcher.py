"""The batcher as a pure machine: examples by hand, then a state machine that tries to lose, double or overfill."""

from dataclasses import replace

import pytest

from serving.batcher import PROBE_HOLD_MAX_S, PROBE_PAUSE_S, Batch, Batcher, BatchLimits, Plan, Rider
from serving.errors import DeadlineExceeded, QueueFull
from serving.queues import Queue
from serving.upstream import Servable

V1 = Servable("tfs-a", "digits", 1)
V2 = Servable("tfs-a", "digits", 2)


def limits(**changed: int) -> BatchLimits:
    return replace(BatchLimits(max_rows=8, max_in_flight=1, queue_rows=20, queue_bytes=2_000), **changed)  # type: ignore[arg-type]  # bounds are whole numbers


def rider(
    number: int,
    rows: int = 1,
    *,
    key: str = "a",
    servable: Servable = V1,
    deadline: float = 10.0,
    mergeable: bool = True,
    client: str = "",
) -> Rider:
    return Rider(number, key, servable, rows, 10 * rows, deadline, mergeable, client)


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


def test_what_gathers_company_leaves_together_when_the_time_is_over() -> None:
    batcher = Batcher(limits(), 1)
    batcher.gather(0.008)
    assert batcher.add(rider(1), 0.0)
    assert batcher.poll(0.0).wake_at == pytest.approx(0.008)
    assert not batcher.add(rider(2), 0.005)

    assert ids(batcher.poll(0.007)) == []
    assert ids(batcher.poll(0.008)) == [[1, 2]]


def test_who_needs_no_company_does_not_gather_any() -> None:
    batcher = Batcher(limits(max_in_flight=2), 1)
    batcher.gather(0.008)
    batcher.add(rider(1, rows=8), 0.0)
    batcher.add(rider(2, mergeable=False, servable=V2), 0.0)

    assert ids(batcher.poll(0.0)) == [[1], [2]]


def test_company_is_gathered_for_a_tenth_of_the_time_that_is_left() -> None:
    batcher = Batcher(limits(), 1)
    batcher.gather(0.008)
    batcher.add(rider(1), 0.0)
    assert batcher.add(rider(2, deadline=0.03), 0.0)

    assert batcher.poll(0.0).wake_at == pytest.approx(0.003)
    assert ids(batcher.poll(0.003)) == [[2, 1]]


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


def test_the_earliest_deadline_goes_first_and_takes_others_of_its_lane() -> None:
    batcher, (first,) = busy()
    batcher.add(rider(1, deadline=5.0), 0.0)
    batcher.add(rider(2, key="b", deadline=9.0), 0.0)
    batcher.add(rider(3, key="b", deadline=2.0), 0.0)

    batcher.done(first.id)
    assert ids(batcher.poll(0.1)) == [[3, 2]]


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
    assert repr(batcher) == "<Batcher 0 riders (0 rows, 0 bytes) queued, 0/1 slots busy>"


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


def test_nothing_is_padded_beyond_the_bytes_that_a_batch_may_have() -> None:
    # A row of 10 bytes, eight times, is as much as may be.
    for size_bytes, padded in ((10, 8), (11, None)):
        batcher = Batcher(limits(max_bytes=80), 1)
        batcher.probe(V1, 8)
        batcher.add(rider(1)._replace(size_bytes=size_bytes), 0.0)

        (batch,) = batcher.poll(0.0).send
        assert (batch.is_probe, batch.pad_to) == (True, padded)


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


def test_a_client_that_floods_waits_behind_itself() -> None:
    batcher, (first,) = busy(max_rows=4, queue_rows=100)
    for number in range(1, 11):
        batcher.add(rider(number, client="flood"), 0.0)
    batcher.add(rider(11, client="a"), 0.0)
    batcher.add(rider(12, client="b"), 0.0)

    batcher.done(first.id)
    assert ids(batcher.poll(0.1)) == [[1, 11, 12, 2]]


def test_batches_are_padded_up_to_an_allowed_size() -> None:
    sizes = {"digits": (2, 4)}
    batcher = Batcher(replace(limits(max_rows=5), allowed_rows=sizes), 1)
    padded: list[tuple[int, int | None]] = []
    for rows in ((1, 1, 1), (1, 1, 1, 1, 1), (7,)):
        for number, count in enumerate(rows):
            batcher.add(rider(10 * len(padded) + number, rows=count), 0.0)
        (batch,) = batcher.poll(0.0).send
        padded.append((batch.rows, batch.pad_to))
        batcher.done(batch.id)
        for one in range(40):
            batcher.withdraw(one)

    assert padded == [(3, 4), (4, None), (7, None)]


def test_who_has_less_time_than_any_call_takes_is_told_at_once_and_not_sent() -> None:
    batcher = Batcher(replace(limits(max_in_flight=2), latency_s=0.08), 1)
    batcher.answered(V1, 0, 4, 0, 30_000_000, 1.0)
    batcher.add(rider(1, deadline=1.129), 1.1)
    batcher.add(rider(2, deadline=1.131), 1.1)
    plan = batcher.poll(1.1)

    assert [(one.id, fastest_s) for one, fastest_s in plan.hopeless] == [(1, 0.03)]
    assert ids(plan) == [[2]]
    # A second later nothing is known any more, and somebody has to find out.
    batcher.add(rider(3, deadline=2.11), 2.1)
    assert ids(batcher.poll(2.1)) == [[3]]


def test_a_batch_has_no_more_rows_than_the_backend_takes() -> None:
    batcher = Batcher(limits(), 1)
    batcher.caps.learn(V1, "Task size 8 is larger than maximum input batch size 3")
    for number in range(5):
        batcher.add(rider(number), 0.0)

    assert ids(batcher.poll(0.0)) == [[0, 1, 2]]


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
