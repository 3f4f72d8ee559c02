"""The policy for comparison, in virtual time."""

import asyncio

from load.generate.sender import body_of
from load.generate.timer import TimerBatcher
from serving import wire
from tests.simulated_loop import run_simulated


def test_batches_leave_full_or_after_their_time_however_many_are_under_way() -> None:
    sent: list[tuple[float, int]] = []

    async def call(body: bytes) -> bytes:
        request = wire.PredictRequest.FromString(body)
        rows = request.inputs["x"].tensor_shape.dim[0].size
        assert len(request.inputs["x"].tensor_content) == 4 * rows
        sent.append((round(asyncio.get_running_loop().time(), 6), rows))
        await asyncio.sleep(1.0)
        return bytes(wire.PredictResponse(outputs=request.inputs).SerializeToString())

    async def play() -> list[bytes]:
        async with asyncio.TaskGroup() as tasks:
            batcher = TimerBatcher(call, tasks, rows_max=3, wait_s=0.002)
            asked = [tasks.create_task(batcher.predict(body_of("m", "x", 1, 1))) for _ in range(4)]
        return [one.result() for one in asked]

    answers = run_simulated(play())

    assert sent == [(0.0, 3), (0.002, 1)]
    for one in answers:
        assert wire.PredictResponse.FromString(one).outputs["x"].tensor_content == bytes(4)
