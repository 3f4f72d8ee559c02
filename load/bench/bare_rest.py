"""A REST gateway of a few lines: JSON rows, merged while both calls are under way, one gRPC call a batch.

Run as `python -P -m load.bench.bare_rest HOST:PORT`: the address goes to stdout, SIGTERM ends it.
"""

import asyncio
import signal
import sys
from typing import Any, Final

import grpc.aio
import msgspec
import numpy as np
import uvloop
from aiohttp import web
from numpy.typing import NDArray

from serving import wire
from serving.arrays import from_numpy, to_numpy

_ROWS_MAX: Final = 32
_CALLS_MAX: Final = 2
_CALL_S: Final = 30.0
_MODEL, _INPUT = "half", "x"


class Batching:
    """Merges requests of one row. Mutable: who waits, and how many calls are under way."""

    def __init__(self, call: Any, tasks: asyncio.TaskGroup) -> None:
        self._call, self._tasks = call, tasks
        self._waiting: list[tuple[NDArray[np.float32], asyncio.Future[bytes]]] = []
        self._calls = 0

    async def predict(self, request: web.Request) -> web.Response:
        """Answer one row."""
        rows = np.asarray(msgspec.json.decode(await request.read())["instances"], np.float32)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, future))
        self._send()
        return web.Response(body=await future, content_type="application/json")

    def _send(self) -> None:
        while self._waiting and self._calls < _CALLS_MAX:
            batch, self._waiting = self._waiting[:_ROWS_MAX], self._waiting[_ROWS_MAX:]
            self._calls += 1
            self._tasks.create_task(self._run(batch))

    async def _run(self, batch: list[tuple[NDArray[np.float32], asyncio.Future[bytes]]]) -> None:
        request = wire.PredictRequest(model_spec={"name": _MODEL})
        request.inputs[_INPUT].CopyFrom(from_numpy(np.concatenate([rows for rows, _ in batch]), as_content=True))
        answer = wire.PredictResponse.FromString(await self._call(request.SerializeToString(), timeout=_CALL_S))
        for row, (_, future) in zip(to_numpy(answer.outputs[_INPUT]).tolist(), batch, strict=True):
            if not future.done():
                future.set_result(msgspec.json.encode({"predictions": [row]}))
        self._calls -= 1
        self._send()


async def _serve(target: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with grpc.aio.insecure_channel(target) as channel, asyncio.TaskGroup() as tasks:
        app = web.Application()
        app.router.add_post(f"/v1/models/{_MODEL}:predict", Batching(channel.unary_unary(wire.PREDICT), tasks).predict)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        sys.stdout.write(f"{host}:{port}\n")
        sys.stdout.flush()
        await stop.wait()
        await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
