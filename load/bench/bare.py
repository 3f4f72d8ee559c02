"""Gateways of a few lines, the floor of each front: no decisions, no tokens, no metrics, no deadlines, one backend.

Run as `python -P -m load.bench.bare batch|proxy HOST:PORT`: the address goes to stdout, SIGTERM ends it.
"""

import asyncio
import signal
import sys
from typing import Any, Final

import grpc
import grpc.aio
import uvloop

from serving import tensors, wire

# As the gateways beside them: performance.md found more calls of more rows no faster at this backend.
_ROWS_MAX: Final = 32
_CALLS_MAX: Final = 2
_CALL_S: Final = 30.0


class Batching:
    """Merges single rows while both calls are under way. Mutable: who waits, and how many calls are."""

    def __init__(self, call: Any, tasks: asyncio.TaskGroup) -> None:
        self._call, self._tasks = call, tasks
        self._waiting: list[tuple[wire.Message, asyncio.Future[bytes]]] = []
        self._calls = 0

    async def predict(self, body: bytes, context: Any) -> bytes:
        """Answer one row."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append((wire.PredictRequest.FromString(body), future))
        self._send()
        return await future

    def _send(self) -> None:
        while self._waiting and self._calls < _CALLS_MAX:
            batch, self._waiting = self._waiting[:_ROWS_MAX], self._waiting[_ROWS_MAX:]
            self._calls += 1
            self._tasks.create_task(self._run(batch))

    async def _run(self, batch: list[tuple[wire.Message, asyncio.Future[bytes]]]) -> None:
        joined = tensors.join([request for request, _ in batch]).SerializeToString()
        answer = wire.PredictResponse.FromString(await self._call(joined, timeout=_CALL_S))
        for (_, future), part in zip(batch, tensors.split(answer, [1] * len(batch)), strict=True):
            if not future.done():
                future.set_result(part.SerializeToString())
        self._calls -= 1
        self._send()


async def _serve(kind: str, target: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with grpc.aio.insecure_channel(target) as channel, asyncio.TaskGroup() as tasks:
        call = channel.unary_unary(wire.PREDICT)

        async def proxy(body: bytes, context: Any) -> bytes:
            answer: bytes = await call(body, timeout=_CALL_S)
            return answer

        handler = Batching(call, tasks).predict if kind == "batch" else proxy
        server = grpc.aio.server()
        service = "tensorflow.serving.PredictionService"
        methods = {"Predict": grpc.unary_unary_rpc_method_handler(handler)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
        sys.stdout.write(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}\n")
        sys.stdout.flush()
        await server.start()
        await stop.wait()
        await server.stop(grace=None)


if __name__ == "__main__":
    uvloop.run(_serve(*sys.argv[1:3]))
