"""The dispatcher in virtual time: nobody gets another's rows, nobody is lost, and no fault spreads."""

import asyncio
import contextvars
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from serving import wire
from serving.batcher import BatchLimits
from serving.dispatcher import Answer, BatchRecord, Dispatcher
from serving.errors import BackendError, Code, DeadlineExceeded, InternalError, QueueFull, ServingError, Unavailable
from serving.upstream import Servable, Upstream
from tests.simulated_loop import run_simulated

V1 = Servable("tfs-a", "digits", 1)
V2 = Servable("tfs-a", "digits", 2)
DT_INT64 = 9
# What a call takes here unless a test says otherwise.
CALL_S = 0.004


def request(first: int, rows: int = 1) -> wire.Message:
    """A request of `rows` rows that hold first, first + 1, …: each row says whose it is."""
    message = wire.PredictRequest()
    message.model_spec.name = "public"
    tensor = message.inputs["x"]
    tensor.dtype = DT_INT64
    tensor.tensor_shape.dim.add().size = rows
    tensor.int64_val.extend(range(first, first + rows))
    return message


def rows_of(message: wire.Message) -> list[int]:
    return list(message.inputs["x"].int64_val)


def values(answer: Answer) -> list[int]:
    return list(answer.response.outputs["x"].int64_val)


def identity(message: wire.Message) -> bytes:
    """Answer a request with its own rows."""
    response = wire.PredictResponse()
    response.model_spec.CopyFrom(message.model_spec)
    response.outputs["x"].CopyFrom(message.inputs["x"])
    return bytes(response.SerializeToString())


class Replica:
    """An Upstream that takes CALL_S and answers as `answer` says: by default with the request's own rows."""

    def __init__(
        self,
        answer: Callable[[wire.Message], bytes] = identity,
        seconds: Callable[[wire.Message], float] = lambda _: CALL_S,
        address: str = "replica:0",
    ) -> None:
        self.address = address
        self.answer = answer
        self.seconds = seconds
        self.requests: list[wire.Message] = []
        self.spans_ns: list[tuple[int, int]] = []
        self.timeouts_s: list[float] = []
        self.cancelled = 0

    @property
    def calls(self) -> list[list[int]]:
        return [rows_of(message) for message in self.requests]

    async def call(self, method: str, body: bytes, timeout_s: float) -> bytes:
        assert method == wire.PREDICT
        now = asyncio.get_running_loop().time
        message = wire.PredictRequest.FromString(body)
        self.requests.append(message)
        self.timeouts_s.append(timeout_s)
        started_ns = int(now() * 1e9)
        try:
            await asyncio.sleep(self.seconds(message))
            return self.answer(message)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.spans_ns.append((started_ns, int(now() * 1e9)))

    async def close(self) -> None:
        pass


Scenario = Callable[[Dispatcher, asyncio.TaskGroup], Awaitable[None]]


def run(
    scenario: Scenario,
    *upstreams: Upstream,
    max_rows: int = 8,
    max_in_flight: int = 1,
    queue_rows: int = 100,
    queue_bytes: int = 100_000,
) -> list[BatchRecord]:
    """Play a scenario on a dispatcher in virtual time and return what was recorded of its calls."""
    records: list[BatchRecord] = []

    async def play() -> None:
        limits = BatchLimits(max_rows, max_in_flight, queue_rows, queue_bytes)
        async with (
            Dispatcher(upstreams, limits, on_batch=records.append) as dispatcher,
            asyncio.TaskGroup() as group,
        ):
            await scenario(dispatcher, group)

    run_simulated(play())
    return records


async def outcome(predicting: Awaitable[Answer]) -> Answer | ServingError:
    """What came of a prediction, so that tasks can end in errors without ending their group."""
    try:
        return await predicting
    except ServingError as error:
        return error


def now() -> float:
    return asyncio.get_running_loop().time()


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


# Faults


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
    assert replica.calls == [[1, 2, 3], [1], [2], [3]]
    assert [record.error for record in records] == ["backend", None, "backend", None]
    assert [len(record.waits_s) for record in records] == [3, 0, 0, 0]


def test_one_by_one_leaves_out_who_has_left_or_expired() -> None:
    replica = Replica(poisoned_by(1, Code.INVALID_ARGUMENT))

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        group.create_task(outcome(dispatcher.predict(V1, request(1), 1.0)))
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


def only_one(message: wire.Message) -> bytes:
    """A model that is not batch-major: one row comes out whatever goes in."""
    response = wire.PredictResponse.FromString(identity(message))
    response.outputs["x"].tensor_shape.dim[0].size = 1
    del response.outputs["x"].int64_val[1:]
    return bytes(response.SerializeToString())


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


# Probes and cost


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


# All at once


class World:
    """Clients and replicas drawn from a seed. Rows are numbered through; one in 25 requests is poisoned."""

    def __init__(self, seed: int, rows: int) -> None:
        self.rng = random.Random(seed)
        self.rows = rows
        self.poison: set[int] = set()
        self.seen: Counter[str] = Counter()
        self.replicas = [Replica(self.answer, self.seconds, f"replica:{index}") for index in range(2)]
        self.records: list[BatchRecord] = []

    def seconds(self, _: wire.Message) -> float:
        return 0.2 if self.rng.random() < 0.02 else self.rng.choice((0.0, 0.001, 0.002, 0.005))

    def answer(self, message: wire.Message) -> bytes:
        if self.poison.intersection(rows_of(message)):
            raise BackendError(Code.INVALID_ARGUMENT, "poison")
        match self.rng.random():
            case chance if chance < 0.03:
                raise Unavailable("gone")
            case chance if chance < 0.06:
                raise KeyError("nobody foresaw this")
            case chance if chance < 0.08:
                return b"\xff\xff"
        return only_one(message) if message.model_spec.version.value == 3 else identity(message)

    async def client(self, dispatcher: Dispatcher, first: int, rows: int) -> None:
        """Ask once, perhaps with little patience, and check whose rows come back."""
        is_poisoned = self.rng.random() < 0.04
        if is_poisoned:
            self.poison.add(first + self.rng.randrange(rows))
        # The third version is not batch-major: single rows only, or the model itself would answer too few.
        version = self.rng.choice((1, 2, 3) if rows == 1 else (1, 2))
        message = request(first, rows)
        if self.rng.random() < 0.1:
            message.model_spec.signature_name = "other"
        deadline = now() + self.rng.choice((0.003, 0.05, 5.0))
        started = now()
        try:
            answer = await dispatcher.predict(Servable("tfs-a", "digits", version), message, deadline)
        except BackendError:
            assert is_poisoned
            self.seen["poisoned"] += 1
        except ServingError as error:
            self.seen[error.label] += 1
            if isinstance(error, DeadlineExceeded):
                assert now() == pytest.approx(deadline)
        except asyncio.CancelledError:
            self.seen["left"] += 1
            raise
        else:
            assert not is_poisoned
            assert values(answer) == list(range(first, first + rows))
            assert answer.response.model_spec.version.value == version
            self.seen["answered"] += 1
        assert started <= now() <= deadline + 1e-9

    async def play(self) -> None:
        limits = BatchLimits(max_rows=32, max_in_flight=2, queue_rows=256, queue_bytes=100_000)
        async with Dispatcher(self.replicas, limits, on_batch=self.records.append) as dispatcher:
            async with asyncio.TaskGroup() as group:
                first = 0
                while first < self.rows:
                    rows = self.rng.choice((1, 1, 2, 5, 20, 40))
                    task = group.create_task(self.client(dispatcher, first, rows))
                    if self.rng.random() < 0.1:
                        asyncio.get_running_loop().call_later(self.rng.choice((0.0, 0.001, 0.01)), task.cancel)
                    if self.rng.random() < 0.05:
                        dispatcher.probe(Servable("tfs-a", "digits", self.rng.choice((1, 2))), 16)
                    first += rows
                    await asyncio.sleep(self.rng.choice((0.0, 0.001, 0.005)))
            # Calls whose riders have all left may still be under way.
            await asyncio.sleep(30.0)
            assert [dispatcher.in_flight(Servable("tfs-a", "digits", version)) for version in (1, 2, 3)] == [0, 0, 0]

    def busy_ns(self, address: str) -> int:
        """Wall time in which a replica had at least one call, by its own account."""
        (replica,) = [one for one in self.replicas if one.address == address]
        busy_ns = until_ns = 0
        for started_ns, ended_ns in sorted(replica.spans_ns):
            busy_ns += max(0, ended_ns - max(started_ns, until_ns))
            until_ns = max(until_ns, ended_ns)
        return busy_ns


@pytest.mark.parametrize("seed", range(4))
def test_nobody_gets_anothers_rows_under_any_mix_of_sizes_cancels_and_faults(seed: int) -> None:
    world = World(seed, rows=10_000)
    run_simulated(world.play())

    for replica in world.replicas:
        charged_ns = [record.charged_ns for record in world.records if record.replica == replica.address]
        assert sum(charged_ns) == world.busy_ns(replica.address)
        assert replica.cancelled == 0
    assert any(record.is_probe and record.pad_to == 16 for record in world.records)
    # Each way to end was met, and most ended well.
    ways = {"answered", "left", "poisoned", "deadline", "unavailable", "internal"}
    assert ways <= set(world.seen)
    assert world.seen["answered"] > sum(world.seen.values()) / 2
