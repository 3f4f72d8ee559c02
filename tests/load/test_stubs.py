"""The official stubs, in a process of their own (they load TensorFlow), against a real gRPC server built on `wire`."""

import asyncio
import json
import sys

import grpc
import grpc.aio
import numpy as np
import pytest

from serving import arrays, wire

CLIENT = """
import asyncio, json, sys
import numpy as np
from load.demo import stubs
from load.demo.senders import Failed

async def main(port):
    pixels = np.zeros((4, 64), np.float32)
    pixels[:, 0] = range(4)
    channel = stubs.open_channel(port)
    sender, found = stubs.GrpcSender(channel, pixels), []
    for image in range(4):
        try:
            answer = await sender.predict(image)
            found.append([answer.digit, answer.arm, answer.decision])
        except Failed as error:
            found.append([str(error), error.is_away])
    found.append(await stubs.ModelServer(channel).states())
    await channel.close()
    return found

print(json.dumps(asyncio.run(main(int(sys.argv[1])))))
"""


async def predict(body: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
    """Answer the digit in the first pixel; 2 comes from another version than its arm says, 3 fails."""
    request = wire.parse(wire.PredictRequest, body)
    (row,) = arrays.to_numpy(request.inputs["pixels"])
    digit = int(row[0])
    if digit == 3:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "going down")
    context.set_trailing_metadata((("turpin-decision", f"token-{digit}"), ("turpin-arm", "v2")))
    response = wire.PredictResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = 1 if digit == 2 else 2
    response.outputs["probabilities"].CopyFrom(arrays.from_numpy(np.eye(10, dtype=np.float32)[[digit]]))
    answer: bytes = response.SerializeToString()
    return answer


async def status(body: bytes, context: object) -> bytes:
    """Say that version 1 is gone and 2 is there."""
    response = wire.GetModelStatusResponse()
    for version, state in ((1, wire.END), (2, wire.AVAILABLE)):
        response.model_version_status.add(version=version, state=state)
    answer: bytes = response.SerializeToString()
    return answer


# TensorFlow's import, alone up to 10 s, several times that on a busy machine.
@pytest.mark.timeout(90)
async def test_official_stubs_read_answers_failures_and_model_states() -> None:
    server = grpc.aio.server()
    for service, method, handler in (
        ("tensorflow.serving.PredictionService", "Predict", predict),
        ("tensorflow.serving.ModelService", "GetModelStatus", status),
    ):
        methods = {method: grpc.unary_unary_rpc_method_handler(handler)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        client = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CLIENT, str(port), stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(80):
            output, _ = await client.communicate()
    finally:
        await server.stop(None)

    found = json.loads(output)
    assert found[0] == [0, "v2", "token-0"]
    assert found[1] == [1, "v2", "token-1"]
    assert found[2] == ["gRPC: version 1 answered as arm v2", False]
    assert found[3] == ["gRPC UNAVAILABLE: going down", True]
    assert found[4] == {"1": "END", "2": "AVAILABLE"}
