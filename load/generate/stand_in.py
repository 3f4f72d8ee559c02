"""A model server that computes nothing: it takes as long as a device that runs one batch at a time, and tells what came.

Run as `python -P -m load.generate.stand_in --a-ms 20 --b-ms 0.25`: it writes its port to stdout, and at the end (SIGTERM)
the sizes of the batches, how many calls were there at once, and how long the device was busy, as JSON.
"""

import argparse
import asyncio
import json
import signal
import sys
from collections import Counter
from typing import Any, Self

import grpc
import grpc.aio
import numpy as np
import uvloop

from serving import wire
from serving.arrays import from_numpy, to_numpy


class StandIn:
    """A model `half` on a free port of loopback, for as long as its `async with` lasts.

    A batch takes a + b·rows seconds, after those before it. Mutable: what has come, and when the device is free.
    """

    def __init__(
        self,
        a_s: float,
        b_s: float,
        *,
        rows_max: int = 1_000_000,
        poison_every: int = 0,
        away_every: int = 0,
        versions: int = 1,
        columns: int = 0,
    ) -> None:
        """`poison_every`: rows whose number is a multiple of it are refused, with their batch; `away_every`: so many
        calls, and one is answered UNAVAILABLE; `versions`: so many are there, from 1 on; `columns`: each row is answered
        with so many of its first numbers, 0 with all."""
        self.versions, self.columns = versions, columns
        self.a_s, self.b_s, self.rows_max = a_s, b_s, rows_max
        self.poison_every, self.away_every = poison_every, away_every
        self.sizes: Counter[int] = Counter()
        self.in_flight = self.in_flight_max = 0
        self.busy_s = 0.0
        self._free_at = 0.0
        self._server: Any = None
        self.address = ""

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
        handlers = {
            "Predict": grpc.unary_unary_rpc_method_handler(self._predict),
            "GetModelMetadata": grpc.unary_unary_rpc_method_handler(self._metadata),
        }
        models = {"GetModelStatus": grpc.unary_unary_rpc_method_handler(self._status)}
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", handlers),
                grpc.method_handlers_generic_handler("tensorflow.serving.ModelService", models),
            )
        )
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(grace=None)

    def report(self) -> dict[str, Any]:
        """Say what has come."""
        calls = sum(self.sizes.values())
        rows = sum(size * count for size, count in self.sizes.items())
        return {
            "calls": calls,
            "rows": rows,
            "rows_per_call": round(rows / calls, 2) if calls else 0.0,
            "in_flight_max": self.in_flight_max,
            "busy_s": round(self.busy_s, 3),
            "sizes": {str(size): count for size, count in sorted(self.sizes.items())},
        }

    async def _predict(self, body: bytes, context: Any) -> bytes:
        request = wire.PredictRequest.FromString(body)
        rows = next(iter(request.inputs.values())).tensor_shape.dim[0].size
        if rows > self.rows_max:
            words = f"Task size {rows} is larger than maximum input batch size {self.rows_max}"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, words)
        self.sizes[rows] += 1
        if self.away_every and sum(self.sizes.values()) % self.away_every == 0:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "as it was told")
        if self.poison_every and not np.all(to_numpy(request.inputs["x"]) % self.poison_every):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "poison")
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        loop = asyncio.get_running_loop()
        seconds = self.a_s + self.b_s * rows
        self.busy_s += seconds
        self._free_at = max(loop.time(), self._free_at) + seconds
        try:
            await asyncio.sleep(self._free_at - loop.time())
        finally:
            self.in_flight -= 1
        answer = wire.PredictResponse(model_spec=request.model_spec)
        for name, tensor in request.inputs.items():
            cut = from_numpy(to_numpy(tensor)[:, : self.columns], as_content=True) if self.columns else tensor
            answer.outputs[name].CopyFrom(cut)
        answer.model_spec.version.value = request.model_spec.version.value or self.versions
        return bytes(answer.SerializeToString())

    async def _status(self, body: bytes, context: Any) -> bytes:
        return bytes(states(self.versions).SerializeToString())

    async def _metadata(self, body: bytes, context: Any) -> bytes:
        request = wire.GetModelMetadataRequest.FromString(body)
        answer = wire.GetModelMetadataResponse(model_spec=request.model_spec)
        answer.metadata["signature_def"].Pack(signatures())
        return bytes(answer.SerializeToString())


def states(versions: int) -> wire.Message:
    """Return the GetModelStatusResponse of a model of which so many versions are there, from 1 on."""
    answer = wire.GetModelStatusResponse()
    for version in range(1, versions + 1):
        answer.model_version_status.add(version=version, state=wire.AVAILABLE)
    return answer


def signatures() -> wire.Message:
    """Return the SignatureDefMap of a model that takes floats and gives floats."""
    one = {"name": "x:0", "dtype": 1, "tensor_shape": {"dim": [{"size": -1}, {"size": 1}]}}
    packed = wire.SignatureDefMap()
    packed.signature_def[wire.DEFAULT_SIGNATURE].CopyFrom(
        wire.SignatureDef(inputs={"x": one}, outputs={"x": one}, method_name="tensorflow/serving/predict")
    )
    return packed


async def _serve(server: StandIn) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with server:
        sys.stdout.write(server.address + "\n")
        sys.stdout.flush()
        await stop.wait()
        sys.stdout.write(json.dumps(server.report()) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--a-ms", type=float, required=True, help="milliseconds of a call")
    parser.add_argument("--b-ms", type=float, required=True, help="milliseconds of a row")
    parser.add_argument("--poison-every", type=int, default=0, help="refuse rows whose number is a multiple of this")
    parser.add_argument("--away-every", type=int, default=0, help="answer each so manyth call UNAVAILABLE")
    parser.add_argument("--versions", type=int, default=1, help="so many versions are there, from 1 on")
    parser.add_argument("--columns", type=int, default=0, help="answer with so many of a row's numbers; 0: all")
    given = parser.parse_args()
    faults = {"poison_every": given.poison_every, "away_every": given.away_every}
    shape = {"versions": given.versions, "columns": given.columns}
    uvloop.run(_serve(StandIn(given.a_ms / 1e3, given.b_ms / 1e3, **faults, **shape)))
