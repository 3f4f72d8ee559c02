"""A model server that computes nothing, as a process: it repeats what it is sent and says which version answered.

Run as `python -P -m load.chaos.model_server PORT`: it serves the versions of one model, and on SIGTERM ends what is under way.
"""

import asyncio
import signal
import sys
from typing import Any, Final

import grpc
import grpc.aio
import uvloop

from serving import wire

MODEL: Final = "numbers"
VERSIONS: Final = (1, 2, 3)
INPUT: Final = "x"
BY: Final = "version"
_FLOAT: Final = 1
_INT64: Final = 9
# What a call takes: a small model on a fast device.
_CALL_S: Final = 0.001
_DRAIN_S: Final = 5.0


def _signature() -> wire.Message:
    def tensor(name: str, kind: int, *sizes: int) -> dict[str, Any]:
        return {"name": f"{name}:0", "dtype": kind, "tensor_shape": {"dim": [{"size": size} for size in sizes]}}

    return wire.SignatureDef(
        inputs={INPUT: tensor(INPUT, _INT64, -1)},
        outputs={INPUT: tensor("out", _INT64, -1), BY: tensor(BY, _FLOAT, -1)},
        method_name="tensorflow/serving/predict",
    )


async def _predict(body: bytes, context: Any) -> bytes:
    request = wire.PredictRequest.FromString(body)
    version = request.model_spec.version.value or VERSIONS[-1]
    if request.model_spec.name != MODEL or version not in VERSIONS:
        await context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Specific({MODEL}, {version})")
    await asyncio.sleep(_CALL_S)
    rows = request.inputs[INPUT].tensor_shape.dim[0].size
    answer = wire.PredictResponse(outputs=request.inputs, model_spec=request.model_spec)
    answer.model_spec.version.value = version
    by = answer.outputs[BY]
    by.dtype = _FLOAT
    by.tensor_shape.dim.add(size=rows)
    by.float_val.extend([float(version)] * rows)
    return bytes(answer.SerializeToString())


async def _status(body: bytes, context: Any) -> bytes:
    answer = wire.GetModelStatusResponse()
    for version in VERSIONS:
        answer.model_version_status.add(version=version, state=wire.AVAILABLE)
    return bytes(answer.SerializeToString())


async def _metadata(body: bytes, context: Any) -> bytes:
    request = wire.GetModelMetadataRequest.FromString(body)
    packed = wire.SignatureDefMap()
    packed.signature_def[wire.DEFAULT_SIGNATURE].CopyFrom(_signature())
    answer = wire.GetModelMetadataResponse(model_spec=request.model_spec)
    answer.metadata["signature_def"].Pack(packed)
    return bytes(answer.SerializeToString())


async def _serve(port: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    services = {
        "PredictionService": {"Predict": _predict, "GetModelMetadata": _metadata},
        "ModelService": {"GetModelStatus": _status},
    }
    for service, methods in services.items():
        handlers = {name: grpc.unary_unary_rpc_method_handler(handle) for name, handle in methods.items()}
        path = f"tensorflow.serving.{service}"
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(path, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await stop.wait()
    await server.stop(_DRAIN_S)


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
