"""What a C++ server says when it batches by itself, or starts: it reaches the client through the gateway as it was said.

The embedded server doesn't batch, so a scripted one speaks here, in TF Serving's words.
"""

from pathlib import Path
from typing import Any, Final

import pytest

from serving import wire
from serving.errors import BackendError, Code
from serving.grpc_server import GrpcServer
from tests.conformance.targets import TIMEOUT_S
from tests.system.client import Client, Refusal
from tests.system.gateway import serving

pytestmark = pytest.mark.timeout(120)

SAID: Final = (
    (Code.UNAVAILABLE, "Model labels does not init yet.stable"),
    (Code.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full"),
    (Code.INVALID_ARGUMENT, "Task size 65 is larger than maximum input batch size 64"),
    (Code.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue"),
    (
        Code.FAILED_PRECONDITION,
        "Tensors with name 'x:0' from different tasks have different shapes and padding is turned off."
        " Set pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal dimensions"
        " starting with the first dim.",
    ),
    (Code.INVALID_ARGUMENT, "Batching Run() input tensors must have at least one dimension"),
    (Code.INVALID_ARGUMENT, "Batching Run() input tensors supplied in a given call must have equal 0th-dimension size"),
    (Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions"),
    (
        Code.FAILED_PRECONDITION,
        "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input tensors",
    ),
    (Code.UNIMPLEMENTED, "Unsupported signature method_name: m"),
    (Code.DATA_LOSS, "Unable to read file"),
)


async def test_words_of_the_model_server_reach_the_client(tmp_path: Path) -> None:
    async def refuse(body: bytes, context: Any) -> bytes:
        number = wire.PredictRequest.FromString(body).model_spec.version.value
        raise BackendError(*SAID[number])

    server = GrpcServer({wire.PREDICT: refuse, wire.CLASSIFY: refuse}, message_bytes=-1, is_port_shared=False)
    port = await server.start("127.0.0.1:0")
    document = {
        "store": "memory:",
        "listen": {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0", "admin": "127.0.0.1:0"},
        "backends": {"tfs": {"target": f"127.0.0.1:{port}", "price_usd_per_hour": 0.5}},
        "rewards": {"auth": "none"},
    }
    heard = []
    try:
        async with serving(tmp_path, document) as gateway, Client.to(gateway) as client:
            for method, request_class in (
                (wire.PREDICT, wire.PredictRequest),
                (wire.CLASSIFY, wire.ClassificationRequest),
            ):
                for number in range(len(SAID)):
                    request = request_class(model_spec={"name": "m", "version": {"value": number}})
                    with pytest.raises(Refusal) as refused:
                        await client.call(method, request.SerializeToString(), timeout_s=TIMEOUT_S)
                    heard.append((refused.value.code, refused.value.message))
    finally:
        await server.stop(0)

    for (code, words), (heard_code, heard_words) in zip(SAID * 2, heard, strict=True):
        assert heard_code == code.name
        # A server that is away and one that says so are one thing to a client: the gateway adds which it was.
        assert heard_words.endswith(words) if code is Code.UNAVAILABLE else heard_words == words
