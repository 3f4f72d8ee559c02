"""Replicas in virtual time, and requests whose rows say whose they are: what the dispatcher is tested with."""

import asyncio
from collections.abc import Awaitable, Callable

from serving import wire
from serving.batcher import BatchLimits
from serving.dispatcher import Answer, BatchRecord, Dispatcher
from serving.errors import ServingError
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


def only_one(message: wire.Message) -> bytes:
    """A model that is not batch-major: one row comes out whatever goes in."""
    response = wire.PredictResponse.FromString(identity(message))
    response.outputs["x"].tensor_shape.dim[0].size = 1
    del response.outputs["x"].int64_val[1:]
    return bytes(response.SerializeToString())
