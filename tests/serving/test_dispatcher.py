"""The dispatcher in virtual time: who rides together, when, and what becomes of those who leave."""

import asyncio
import contextvars
import gc

import pytest

from serving import wire
from serving.batcher import BatchLimits
from serving.dispatcher import Dispatcher
from serving.errors import BackendError, Code, DeadlineExceeded, QueueFull, ServingError, Unavailable
from serving.groups import Waiter
from serving.upstream import Servable
from tests.serving.replica import (
    CALL_S,
    DT_INT64,
    V1,
    V2,
    Replica,
    identity,
    now,
    outcome,
    request,
    rows_of,
    run,
    values,
)
from tests.simulated_loop import run_simulated

# The batch


def test_what_comes_in_one_round_rides_together_at_once() -> None:
    replica = Replica()

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        tasks = [group.create_task(dispatcher.predict(V1, request(10 * i, 2), 1.0)) for i in (1, 2, 3)]
        answers = [await task for task in tasks]
        assert now() == CALL_S
        assert [values(answer) for answer in answers] == [[10, 11], [20, 21], [30, 31]]
        assert [(answer.rows, answer.batch_rows, answer.replica) for answer in answers] == [(2, 6, "replica:0")] * 3

    run(scenario, replica)
    assert replica.calls == [[10, 11, 20, 21, 30, 31]]


def test_while_the_slot_is_busy_the_batch_grows() -> None:
    replica = Replica()

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        for first in range(6):
            group.create_task(dispatcher.predict(V1, request(first), 1.0))
            await asyncio.sleep(0.0009)

    records = run(scenario, replica)
    assert replica.calls == [[0], [1, 2, 3, 4], [5]]
    assert [record.waits_s for record in records] == [
        (0.0,),
        pytest.approx((0.0031, 0.0022, 0.0013, 0.0004)),
        pytest.approx((0.0035,)),
    ]
    assert [(record.riders, record.rows, record.error) for record in records] == [
        (1, 1, None),
        (4, 4, None),
        (1, 1, None),
    ]


def test_a_request_goes_out_under_its_servables_name_version_and_label() -> None:
    replica = Replica()

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        pinned = request(0)
        pinned.model_spec.version_label = "stable"
        for servable in (V1, Servable("tfs-a", "digits", None, "canary"), Servable("tfs-a", "digits", None)):
            answer = await dispatcher.predict(servable, pinned, 1.0)
            assert answer.response.model_spec == replica.requests[-1].model_spec

    run(scenario, replica)
    specs = [message.model_spec for message in replica.requests]
    assert [spec.name for spec in specs] == ["digits"] * 3
    assert [spec.WhichOneof("version_choice") for spec in specs] == ["version", "version_label", None]
    assert (specs[0].version.value, specs[1].version_label) == (1, "canary")


def test_servables_and_signatures_do_not_mix() -> None:
    replica = Replica()

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        other_signature = request(2)
        other_signature.model_spec.signature_name = "scores"
        group.create_task(dispatcher.predict(V1, request(0), 1.0))
        group.create_task(dispatcher.predict(V2, request(1), 1.0))
        group.create_task(dispatcher.predict(V1, other_signature, 1.0))
        group.create_task(dispatcher.predict(V1, request(3), 1.0))

    run(scenario, replica)
    assert sorted(replica.calls) == [[0, 3], [1], [2]]


def test_what_can_not_be_merged_goes_alone_and_unchanged() -> None:
    replica = Replica()
    scalar = request(5)
    scalar.inputs["flag"].dtype = DT_INT64
    scalar.inputs["flag"].int64_val.append(1)
    other = request(6)
    other.inputs["flag"].CopyFrom(scalar.inputs["flag"])

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        for message in (request(1), scalar, request(2), other):
            group.create_task(dispatcher.predict(V1, message, 1.0))

    run(scenario, replica)
    assert sorted(replica.calls) == [[1, 2], [5], [6]]
    assert scalar in replica.requests


def test_a_full_queue_sheds_and_says_so() -> None:
    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        group.create_task(dispatcher.predict(V1, request(0), 1.0))
        await asyncio.sleep(0.001)
        group.create_task(dispatcher.predict(V1, request(10, 3), 1.0))
        await asyncio.sleep(0.001)
        with pytest.raises(QueueFull, match=r"queue_rows=4: 3 rows wait and this request has 2"):
            await dispatcher.predict(V1, request(20, 2), 1.0)
        assert dispatcher.in_flight(V1) == 2

    run(scenario, Replica(), queue_rows=4)


def test_a_batch_does_not_run_in_the_context_of_the_request_that_started_it() -> None:
    whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="nobody's")
    seen: list[str] = []

    def answer(message: wire.Message) -> bytes:
        seen.append(whose.get())
        return identity(message)

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        whose.set("the client's")
        await dispatcher.predict(V1, request(0), 1.0)

    run(scenario, Replica(answer))
    assert seen == ["nobody's"]


# Deadlines and clients that leave


def test_a_deadline_in_the_queue_is_kept_to_the_moment_and_nothing_is_sent() -> None:
    replica = Replica(seconds=lambda _: 1.0)

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        group.create_task(dispatcher.predict(V1, request(0), 5.0))
        await asyncio.sleep(0.001)
        with pytest.raises(DeadlineExceeded, match=r"passed after 0\.099 s in the queue"):
            await dispatcher.predict(V1, request(1), 0.1)
        assert now() == 0.1

    run(scenario, replica)
    assert replica.calls == [[0]]


def test_a_deadline_under_way_is_kept_while_the_call_goes_on_and_keeps_its_slot() -> None:
    replica = Replica(seconds=lambda message: 1.0 if 0 in rows_of(message) else CALL_S)

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        with pytest.raises(DeadlineExceeded, match=r"passed after 0\.100 s, with no answer from the backend"):
            await dispatcher.predict(V1, request(0), 0.1)
        assert now() == 0.1
        assert dispatcher.in_flight(V1) == 1
        answer = await dispatcher.predict(V1, request(1), 5.0)
        assert (values(answer), now()) == ([1], 1.0 + CALL_S)

    run(scenario, replica)
    assert (replica.calls, replica.cancelled) == ([[0], [1]], 0)


def test_a_call_upstream_gets_more_time_than_its_riders() -> None:
    replica = Replica()

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        await dispatcher.predict(V1, request(0), 0.05)
        patient = group.create_task(dispatcher.predict(V1, request(1), 100.0))
        hasty = group.create_task(dispatcher.predict(V1, request(2), 0.05))
        await patient
        await hasty

    run(scenario, replica)
    assert replica.timeouts_s == pytest.approx([30.0, 100.0 - CALL_S])


def test_a_request_after_its_deadline_is_refused() -> None:
    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        await asyncio.sleep(1.0)
        with pytest.raises(DeadlineExceeded, match="before the request could queue"):
            await dispatcher.predict(V1, request(0), 1.0)

    assert run(scenario, Replica()) == []


def test_a_client_that_leaves_the_queue_is_never_sent() -> None:
    replica = Replica()

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        group.create_task(dispatcher.predict(V1, request(0), 1.0))
        await asyncio.sleep(0.001)
        leaving = group.create_task(dispatcher.predict(V1, request(1), 1.0))
        group.create_task(dispatcher.predict(V1, request(2), 1.0))
        await asyncio.sleep(0.001)
        leaving.cancel()

    run(scenario, replica)
    assert replica.calls == [[0], [2]]


def test_a_client_that_leaves_under_way_changes_nothing_for_the_others() -> None:
    replica = Replica()

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        leaving = group.create_task(dispatcher.predict(V1, request(0, 2), 1.0))
        staying = group.create_task(dispatcher.predict(V1, request(2, 2), 1.0))
        await asyncio.sleep(0.001)
        leaving.cancel()
        assert values(await staying) == [2, 3]
        assert leaving.cancelled()

    run(scenario, replica)
    assert (replica.calls, replica.cancelled) == ([[0, 1, 2, 3]], 0)


# Probes


def test_a_probe_goes_alone_and_padded_and_its_rider_sees_only_its_own_rows() -> None:
    replica = Replica()

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        dispatcher.probe(V1, 4)
        answer = await dispatcher.predict(V1, request(7, 2), 1.0)
        assert (values(answer), answer.batch_rows) == ([7, 8], 2)

    (record,) = run(scenario, replica)
    assert replica.calls == [[7, 8, 7, 7]]
    assert (record.is_probe, record.pad_to, record.rows) == (True, 4, 2)


def test_when_the_riders_of_a_waiting_probe_leave_the_others_go_on_at_once() -> None:
    replica = Replica(seconds=lambda message: 1.0 if 0 in rows_of(message) else CALL_S)

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        group.create_task(dispatcher.predict(V1, request(0), 5.0))
        await asyncio.sleep(0.1)
        dispatcher.probe(V2, 4)
        leaving = group.create_task(dispatcher.predict(V2, request(1), 5.0))
        held = group.create_task(dispatcher.predict(V1, request(2), 5.0))
        await asyncio.sleep(0.1)
        assert replica.calls == [[0]]
        leaving.cancel()
        await held
        assert now() == pytest.approx(0.2 + CALL_S)

    run(scenario, replica, max_in_flight=2)


# Leaving


def test_on_leaving_what_is_under_way_is_finished_and_new_requests_are_refused() -> None:
    async def scenario() -> None:
        replica = Replica(seconds=lambda _: 1.0)
        async with asyncio.TaskGroup() as group:
            async with Dispatcher([replica], BatchLimits(8, 1, 100, 1000), on_batch=lambda _: None) as dispatcher:
                await dispatcher.predict(V1, request(0), 9.0)
                tasks = [group.create_task(dispatcher.predict(V1, request(1), 9.0))]
                await asyncio.sleep(0.1)
                tasks.append(group.create_task(dispatcher.predict(V1, request(2), 9.0)))
                await asyncio.sleep(0.1)
            assert now() == 3.0
            assert [values(await task) for task in tasks] == [[1], [2]]
            with pytest.raises(Unavailable, match="going down"):
                await dispatcher.predict(V1, request(2), 9.0)

    run_simulated(scenario())


def test_what_is_not_answered_within_the_drain_fails_and_nobody_is_waited_for() -> None:
    async def scenario() -> None:
        replica = Replica(seconds=lambda _: 1000.0)
        async with asyncio.TaskGroup() as group:
            async with Dispatcher([replica], BatchLimits(8, 1, 100, 1000), on_batch=lambda _: None) as dispatcher:
                sent = group.create_task(outcome(dispatcher.predict(V1, request(0), 900.0)))
                await asyncio.sleep(0)
                queued = group.create_task(outcome(dispatcher.predict(V1, request(1), 900.0)))
                await asyncio.sleep(0.1)
                await dispatcher.drain(2.0)
                assert now() == 2.1
                assert [type(await task) for task in (sent, queued)] == [Unavailable, Unavailable]
            assert now() == 2.1
        assert replica.calls == [[0]]

    run_simulated(scenario())


def test_leaving_by_an_exception_waits_for_nothing() -> None:
    async def scenario() -> None:
        replica = Replica(seconds=lambda _: 1000.0)
        async with asyncio.TaskGroup() as group:
            dispatcher = Dispatcher([replica], BatchLimits(8, 1, 100, 1000), on_batch=lambda _: None)
            sent = group.create_task(outcome(dispatcher.predict(V1, request(0), 900.0)))

            async def serve_until_it_breaks() -> None:
                async with dispatcher:
                    await asyncio.sleep(0.1)
                    raise LookupError

            with pytest.raises(ExceptionGroup) as caught:
                await serve_until_it_breaks()
            assert caught.group_contains(LookupError)
            assert now() == 0.1
            assert isinstance(await sent, Unavailable)

    run_simulated(scenario())


def test_leaving_that_is_itself_cancelled_leaves_nobody_waiting() -> None:
    async def serve(dispatcher: Dispatcher) -> None:
        async with dispatcher:
            await asyncio.sleep(0.1)

    async def scenario() -> None:
        replica = Replica(seconds=lambda _: 1000.0)
        dispatcher = Dispatcher([replica], BatchLimits(8, 1, 100, 1000), on_batch=lambda _: None)
        async with asyncio.TaskGroup() as group:
            server = group.create_task(serve(dispatcher))
            await asyncio.sleep(0)
            clients = [group.create_task(outcome(dispatcher.predict(V1, request(0), 900.0)))]
            await asyncio.sleep(0.01)
            clients.append(group.create_task(outcome(dispatcher.predict(V1, request(1), 900.0))))
            await asyncio.sleep(1.0)
            server.cancel()
            assert [type(await client) for client in clients] == [Unavailable, Unavailable]
        assert (server.cancelled(), now()) == (True, 1.01)

    run_simulated(scenario())


def test_requests_of_a_servable_that_is_kept_apart_go_alone_and_those_of_others_together() -> None:
    replica = Replica()

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        for is_apart in (True, False):
            dispatcher.keep_apart([V1] if is_apart else [])
            async with asyncio.TaskGroup() as asking:
                for first in range(3):
                    asking.create_task(dispatcher.predict(V1, request(first), 1e3))
                    asking.create_task(dispatcher.predict(V2, request(10 + first), 1e3))

    run(scenario, replica)
    assert sorted(map(tuple, replica.calls)) == [(0,), (0, 1, 2), (1,), (2,), (10, 11, 12), (10, 11, 12)]


def test_nothing_of_requests_that_failed_waits_for_the_collector() -> None:
    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        gc.collect()
        gc.disable()
        try:
            for first in range(20):
                for deadline in (1e3, now() + 1e-6):
                    with pytest.raises(ServingError):
                        await dispatcher.predict(V1, request(first, 2), deadline)
            await asyncio.sleep(1.0)
            # Forty of either kind were left in cycles; of the last few somebody else may know.
            assert sum(isinstance(one, Waiter) for one in gc.get_objects()) <= 10
        finally:
            gc.enable()

    def refuse(message: wire.Message) -> bytes:
        raise BackendError(Code.INVALID_ARGUMENT, "poison")

    run(scenario, Replica(refuse))
