"""The calls of a batch in virtual time: a fault stays with its rider, and busy time is shared out exactly."""

import asyncio
import logging
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import wire
from serving.dispatcher import Answer, Dispatcher
from serving.errors import BackendError, Code, DeadlineExceeded, InternalError, ServingError, Unavailable
from serving.groups import halvings_max
from tests.serving.replica import (
    CALL_S,
    V1,
    V2,
    Replica,
    identity,
    only_one,
    outcome,
    request,
    rows_of,
    run,
    values,
)


def poisoned_by(row: int, code: Code) -> Callable[[wire.Message], bytes]:
    def answer(message: wire.Message) -> bytes:
        if row in rows_of(message):
            raise BackendError(code, f"bad batch of {len(rows_of(message))}")
        return identity(message)

    return answer


@pytest.mark.parametrize("code", [Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION, Code.OUT_OF_RANGE])
def test_a_rider_with_a_fault_of_its_own_fails_alone_with_its_own_words(code: Code) -> None:
    replica = Replica(poisoned_by(2, code))

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        tasks = [group.create_task(outcome(dispatcher.predict(V1, request(row), 1.0))) for row in (1, 2, 3)]
        good, bad, last = [await task for task in tasks]
        assert isinstance(good, Answer)
        assert isinstance(last, Answer)
        assert isinstance(bad, BackendError)
        assert [values(good), values(last)] == [[1], [3]]
        assert (bad.code, bad.message) == (code, "bad batch of 1")

    records = run(scenario, replica)
    assert replica.calls == [[1, 2, 3], [1], [2, 3], [2], [3]]
    assert [record.error for record in records] == ["backend", None, "backend", "backend", None]
    assert [record.is_clients_fault for record in records] == [True, False, True, True, False]
    assert [len(record.waits_s) for record in records] == [3, 0, 0, 0, 0]


@pytest.mark.parametrize("poison", [0, 31, 63])
def test_of_64_one_that_is_poisoned_fails_and_costs_few_calls(poison: int) -> None:
    replica = Replica(poisoned_by(poison, Code.INVALID_ARGUMENT))

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        tasks = [group.create_task(outcome(dispatcher.predict(V1, request(row), 1.0))) for row in range(64)]
        answers = [await task for task in tasks]
        assert [row for row, answer in enumerate(answers) if isinstance(answer, ServingError)] == [poison]
        assert all(values(answer) == [row] for row, answer in enumerate(answers) if isinstance(answer, Answer))

    run(scenario, replica, max_rows=64)
    assert len(replica.calls) - 1 == 12  # 2·log2(64), and 2·log2(64) + 2 are allowed


@given(st.sets(st.integers(0, 39)), st.integers(1, 40))
def test_whoever_is_poisoned_nobody_else_fails_and_calls_are_bounded(poison: set[int], riders: int) -> None:
    def answer(message: wire.Message) -> bytes:
        if poison.intersection(rows_of(message)):
            raise BackendError(Code.INVALID_ARGUMENT, "poison")
        return identity(message)

    replica = Replica(answer)

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        tasks = [group.create_task(outcome(dispatcher.predict(V1, request(row), 1.0))) for row in range(riders)]
        for row, task in enumerate(tasks):
            assert isinstance(await task, BackendError if row in poison else Answer)

    run(scenario, replica, max_rows=40)
    assert len(replica.calls) <= 1 + halvings_max(riders) + riders


def capped(cap: int) -> Callable[[wire.Message], bytes]:
    def answer(message: wire.Message) -> bytes:
        rows = len(rows_of(message))
        if rows > cap:
            words = f"Task size {rows} is larger than maximum input batch size {cap}"
            raise BackendError(Code.INVALID_ARGUMENT, words)
        return identity(message)

    return answer


def test_a_backends_own_cap_is_learned_and_kept() -> None:
    replica = Replica(capped(3))

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        for first in (0, 10):
            tasks = [group.create_task(dispatcher.predict(V1, request(first + row), 1.0)) for row in range(5)]
            assert [values(await task) for task in tasks] == [[first + row] for row in range(5)]

    run(scenario, replica)
    assert replica.calls == [[0, 1, 2, 3, 4], [0, 1, 2], [3, 4], [10, 11, 12], [13, 14]]


def test_requests_larger_than_the_cap_are_split_and_answered_as_one() -> None:
    replica = Replica(capped(4))

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        # Both at once: the second, too, was sent before the cap was known.
        tasks = [group.create_task(dispatcher.predict(V1, request(first, 10), 1.0)) for first in (0, 20)]
        answers = [await task for task in tasks]
        assert [values(answer) for answer in answers] == [list(range(10)), list(range(20, 30))]
        assert [(answer.rows, answer.batch_rows) for answer in answers] == [(10, 4)] * 2

    records = run(scenario, replica, max_in_flight=2)
    assert [len(call) for call in replica.calls] == [10, 10, 4, 4, 4, 4, 2, 2]
    assert [record.rows for record in records] == [10, 10, 4, 4, 4, 4, 2, 2]


def test_a_request_that_can_not_be_split_gets_the_backends_refusal() -> None:
    message = request(0, 5)
    message.request_options.SetInParent()

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        for _ in range(2):
            with pytest.raises(BackendError, match="Task size 5 is larger than maximum input batch size 4"):
                await dispatcher.predict(V1, message, 1.0)

    replica = Replica(capped(4))
    run(scenario, replica)
    assert replica.requests[0].HasField("request_options")


def test_one_by_one_leaves_out_who_has_left_or_expired() -> None:
    replica = Replica(poisoned_by(1, Code.INVALID_ARGUMENT))

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        group.create_task(outcome(dispatcher.predict(V1, request(1), 1.4 * CALL_S)))
        group.create_task(outcome(dispatcher.predict(V1, request(2), 1.5 * CALL_S)))
        leaving = group.create_task(dispatcher.predict(V1, request(3), 1.0))
        await asyncio.sleep(0.001)
        leaving.cancel()

    run(scenario, replica)
    assert replica.calls == [[1, 2, 3], [1]]


@pytest.mark.parametrize("error", [Unavailable("gone"), BackendError(Code.INTERNAL, "oops"), DeadlineExceeded("late")])
def test_a_fault_of_the_backend_fails_the_batch_and_is_not_repeated(error: ServingError) -> None:
    def answer(_: wire.Message) -> bytes:
        raise error

    replica = Replica(answer)

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        tasks = [group.create_task(outcome(dispatcher.predict(V1, request(row), 1.0))) for row in (1, 2)]
        assert [await task for task in tasks] == [error, error]

    records = run(scenario, replica)
    assert replica.calls == [[1, 2]]
    assert [record.error for record in records] == [error.label]


@pytest.mark.parametrize("fault", [KeyError("nobody foresaw this"), asyncio.CancelledError()])
def test_an_unforeseen_fault_ends_its_batch_and_not_the_service(
    fault: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(message: wire.Message) -> bytes:
        if 1 in rows_of(message):
            raise fault
        return identity(message)

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        tasks = [group.create_task(outcome(dispatcher.predict(V1, request(row), 1.0))) for row in (1, 2)]
        assert [type(await task) for task in tasks] == [InternalError, InternalError]
        assert values(await dispatcher.predict(V1, request(3), 1.0)) == [3]
        assert dispatcher.in_flight(V1) == 0

    with caplog.at_level(logging.ERROR):
        records = run(scenario, Replica(answer))
    assert [record.error for record in records] == ["internal", None]
    assert [entry.message for entry in caplog.records] == (["batch failed"] if isinstance(fault, KeyError) else [])


def test_an_answer_that_is_no_message_is_the_backends_fault() -> None:
    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        with pytest.raises(InternalError, match="replica:0 answered 4 bytes that are no PredictResponse"):
            await dispatcher.predict(V1, request(1), 1.0)

    records = run(scenario, Replica(lambda _: b"\xff\xff\xff\xff"))
    assert [record.error for record in records] == ["internal"]


def test_a_model_that_is_not_batch_major_is_found_out_and_then_asked_one_by_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    replica = Replica(only_one)

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        for start in (0, 10):
            tasks = [group.create_task(dispatcher.predict(V1, request(start + row), 1.0)) for row in (1, 2)]
            assert [values(await task) for task in tasks] == [[start + 1], [start + 2]]
        tasks = [group.create_task(dispatcher.predict(V2, request(row), 1.0)) for row in (21, 22)]
        assert [values(await task) for task in tasks] == [[21], [22]]

    run(scenario, replica)
    assert replica.calls == [[1, 2], [1], [2], [11], [12], [21, 22], [21], [22]]
    assert [entry.getMessage() for entry in caplog.records] == [
        "model is not batch-major: its requests go alone from now on"
    ] * 2


def test_a_probe_that_fails_for_its_padding_answers_all_the_same() -> None:
    def answer(message: wire.Message) -> bytes:
        if len(rows_of(message)) > 2:
            raise BackendError(Code.INVALID_ARGUMENT, "Task size 4 is larger than maximum input batch size 2")
        return identity(message)

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        dispatcher.probe(V1, 4)
        assert values(await dispatcher.predict(V1, request(7, 2), 1.0)) == [7, 8]

    records = run(scenario, Replica(answer))
    assert [(record.is_probe, record.pad_to, record.error) for record in records] == [
        (True, 4, "backend"),
        (False, None, None),
    ]


def test_riders_pay_by_rows_and_calls_pay_for_what_they_had_of_the_replica() -> None:
    replica = Replica()

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        small = group.create_task(dispatcher.predict(V1, request(0, 1), 1.0))
        large = group.create_task(dispatcher.predict(V1, request(1, 3), 1.0))
        await asyncio.sleep(CALL_S / 2)
        late = group.create_task(dispatcher.predict(V1, request(9), 1.0))
        charges = [(await task).charged_ns for task in (small, large, late)]
        assert charges == [750_000, 2_250_000, 3_000_000]

    records = run(scenario, replica, max_in_flight=2)
    assert [record.charged_ns for record in records] == [3_000_000, 3_000_000]
    assert [record.seconds for record in records] == pytest.approx([CALL_S, CALL_S])
