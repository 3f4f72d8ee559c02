"""The policy that most batchers have, for comparison: a batch leaves when it is full or its first request waited long.

Run as `python -P -m load.generate.timer HOST:PORT`: a server before a model server that answers every Predict with the
answer to single rows of zeros, sends batches however many are under way, and writes its address to stdout.
"""

import asyncio
import signal
import sys
from typing import Any, Final

import grpc
import grpc.aio
import uvloop

from serving import wire

_ROWS_MAX: Final = 64
_WAIT_S: Final = 0.002


class TimerBatcher:
    """Batches of single rows by a timer. Mutable: who waits."""

    def __init__(self, call: Any, tasks: asyncio.TaskGroup, *, rows_max: int = _ROWS_MAX, wait_s: float = _WAIT_S):
        """`call` sends bytes; all requests are taken to be alike: one row of floats in tensor_content."""
        self._call, self._tasks = call, tasks
        self._rows_max, self._wait_s = rows_max, wait_s
        self._waiting: list[tuple[bytes, asyncio.Future[bytes]]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def predict(self, body: bytes, context: Any = None) -> bytes:
        """Send one row with others; return its answer."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        self._waiting.append((body, future))
        if len(self._waiting) >= self._rows_max:
            self._flush()
        elif self._timer is None:
            self._timer = loop.call_later(self._wait_s, self._flush)
        return await future

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        riders, self._waiting = self._waiting, []
        if riders:
            self._tasks.create_task(self._run(riders))

    async def _run(self, riders: list[tuple[bytes, asyncio.Future[bytes]]]) -> None:
        request = wire.PredictRequest.FromString(riders[0][0])
        _resize(request.inputs, len(riders), len(riders))
        answer = wire.PredictResponse.FromString(await self._call(request.SerializeToString()))
        _resize(answer.outputs, 1, 1 / len(riders))
        body = bytes(answer.SerializeToString())
        for _, future in riders:
            if not future.done():
                future.set_result(body)


def _resize(tensors: Any, rows: int, factor: float) -> None:
    for tensor in tensors.values():
        tensor.tensor_shape.dim[0].size = rows
        size = round(len(tensor.tensor_content) * factor)
        tensor.tensor_content = (tensor.tensor_content * max(1, round(factor)))[:size]


async def _serve(target: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with grpc.aio.insecure_channel(target) as channel, asyncio.TaskGroup() as tasks:
        batcher = TimerBatcher(channel.unary_unary(wire.PREDICT), tasks)
        server = grpc.aio.server()
        handlers = {"Predict": grpc.unary_unary_rpc_method_handler(batcher.predict)}
        service = grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", handlers)
        server.add_generic_rpc_handlers((service,))
        sys.stdout.write(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}\n")
        sys.stdout.flush()
        await server.start()
        await stop.wait()
        await server.stop(grace=1.0)


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
