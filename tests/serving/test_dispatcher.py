"""The dispatcher in virtual time: nobody gets another's rows, and nobody waits for nothing."""

import asyncio

from serving import wire
from serving.batcher import BatchLimits
from serving.dispatcher import Answer, Dispatcher
from serving.upstream import Servable
from tests.simulated_loop import run_simulated

V1 = Servable("tfs-a", "digits", 1)
DT_INT64 = 9


def request(first: int, rows: int) -> wire.Message:
    """A request of `rows` rows that hold first, first + 1, …: each row says whose it is."""
    message = wire.PredictRequest()
    message.model_spec.name = "digits"
    tensor = message.inputs["x"]
    tensor.dtype = DT_INT64
    tensor.tensor_shape.dim.add().size = rows
    tensor.int64_val.extend(range(first, first + rows))
    return message


def values(answer: Answer) -> list[int]:
    return list(answer.response.outputs["x"].int64_val)


class Identity:
    """A replica that answers each request with its own rows after `seconds`."""

    def __init__(self, seconds: float = 0.004, address: str = "replica:0") -> None:
        self.address = address
        self.seconds = seconds
        self.calls: list[list[int]] = []
        self.timeouts_s: list[float] = []

    async def call(self, method: str, body: bytes, timeout_s: float) -> bytes:
        assert method == wire.PREDICT
        message = wire.PredictRequest.FromString(body)
        self.calls.append(list(message.inputs["x"].int64_val))
        self.timeouts_s.append(timeout_s)
        await asyncio.sleep(self.seconds)
        response = wire.PredictResponse()
        response.model_spec.CopyFrom(message.model_spec)
        response.outputs["x"].CopyFrom(message.inputs["x"])
        return bytes(response.SerializeToString())

    async def close(self) -> None:
        pass


def limits(max_rows: int = 8, max_in_flight: int = 1) -> BatchLimits:
    return BatchLimits(max_rows=max_rows, max_in_flight=max_in_flight, queue_rows=100, queue_bytes=100_000)


def test_what_arrives_while_the_slot_is_busy_rides_together() -> None:
    async def scenario() -> None:
        upstream = Identity()
        async with (
            Dispatcher([upstream], limits(), on_batch=lambda _: None) as dispatcher,
            asyncio.TaskGroup() as group,
        ):
            first = group.create_task(dispatcher.predict(V1, request(0, 1), 1.0))
            await asyncio.sleep(0.001)
            others = [group.create_task(dispatcher.predict(V1, request(10 * i, 2), 1.0)) for i in (1, 2, 3)]
        assert values(first.result()) == [0]
        assert [values(task.result()) for task in others] == [[10, 11], [20, 21], [30, 31]]
        assert upstream.calls == [[0], [10, 11, 20, 21, 30, 31]]

    run_simulated(scenario())
