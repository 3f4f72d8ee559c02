"""The wire as clients really use it: HTTP of every age, compressed calls, bursts, and tensors in every encoding."""

import asyncio
import contextlib
import gzip
import json
import socket
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import grpc.aio
import pytest

from tests.conformance.stubs import Stubs
from tests.conformance.targets import TIMEOUT_S, Target

pytestmark = pytest.mark.timeout(120)

PREDICT: Final = "/v1/models/default:predict"
BODY: Final = b'{"instances": [2.0]}'
CHUNKED: Final = b"5\r\n" + BODY[:5] + b"\r\nf\r\n" + BODY[5:] + b"\r\n0\r\n\r\n"

# Of TensorProto what `x` is sent as, and what `y` must be: x/2 + 2 in the same shape. `*_val` may be short: its last
# value stands for the rest, and none at all for zeros.
TENSORS: Final[Mapping[str, tuple[list[int], Mapping[str, Any], list[float]]]] = {
    "scalar": ([], {"float_val": [2]}, [3.0]),
    "one of no rows": ([0], {}, []),
    "rows of nothing": ([3, 0], {}, []),
    "short": ([3], {"float_val": [2]}, [3.0, 3.0, 3.0]),
    "no values": ([2], {}, [2.0, 2.0]),
    "too many": ([1], {"float_val": [2, 4, 6]}, [3.0]),
    "in another field": ([1], {"int_val": [2]}, [2.0]),
    "in two fields": ([1], {"float_val": [2], "tensor_content": b"\0\0\x80\x40"}, [4.0]),
    "of rank nine": ([1] * 9, {"float_val": [2]}, [3.0]),
}
UNREADABLE: Final[Mapping[str, Any]] = {
    "negative dimension": {"dim": [{"size": -1}]},
    "beyond memory": {"dim": [{"size": 1 << 40}, {"size": 1 << 40}]},
    "of no rank": {"dim": [{"size": 1}], "unknown_rank": True},
    "of rank 300": {"dim": [{"size": 1}] * 300},
}


def spoken(target: Target, lines: str, body: bytes = b"") -> tuple[str, Any]:
    """Send bytes as they are to the REST port; return the last status line and the JSON behind it."""
    host, _, port = target.rest.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_S) as connection:
        connection.sendall(lines.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        # Not closed before: half a connection is a client that has gone.
        said = b"".join(iter(lambda: connection.recv(65536), b""))
    *_, head, answer = said.split(b"\r\n\r\n")
    return head.split(b"\r\n")[0].decode(), json.loads(answer)


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (f"POST {PREDICT} HTTP/1.0\nContent-Length: 20", BODY),
        (f"POST {PREDICT} HTTP/1.1\nHost: x\nConnection: close\nTransfer-Encoding: chunked", CHUNKED),
        (f"POST {PREDICT} HTTP/1.1\nHost: x\nConnection: close\nExpect: 100-continue\nContent-Length: 20", BODY),
        (f"POST http://tf-serving{PREDICT} HTTP/1.1\nHost: x\nConnection: close\nContent-Length: 20", BODY),
        (f"POST {PREDICT}?key=value HTTP/1.1\nHost: x\nConnection: close\nContent-Length: 20", BODY),
    ],
    ids=["HTTP/1.0", "chunked", "100-continue", "absolute", "query"],
)
def test_http_of_every_age_is_understood(target: Target, lines: str, body: bytes) -> None:
    status, answer = spoken(target, lines, body)

    assert (status.partition(" ")[2], answer) == ("200 OK", {"predictions": [3.0]})


def test_gzip_that_is_none_or_cut_short_is_refused_in_tf_servings_words(target: Target) -> None:
    for packed in (BODY, gzip.compress(BODY)[:-9], b""):
        head = f"POST {PREDICT} HTTP/1.1\nHost: x\nConnection: close\nContent-Encoding: gzip"
        status, answer = spoken(target, f"{head}\nContent-Length: {len(packed)}", packed)

        assert status == "HTTP/1.1 400 Bad Request"
        assert answer["error"].startswith("Failed to uncompress request body")


@pytest.mark.parametrize("how", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_calls_are_answered(stubs: Stubs, how: grpc.Compression) -> None:
    response = stubs.prediction.Predict(stubs.predict_request(), timeout=TIMEOUT_S, compression=how)

    assert list(response.outputs["y"].float_val) == [3.0]


def test_metadata_of_any_kind_does_no_harm(stubs: Stubs) -> None:
    metadata = (("x-request-id", "a"), ("authorization", "Bearer x"), ("trace-bin", b"\0\xff"), ("long", "a" * 6000))

    response = stubs.prediction.Predict(stubs.predict_request(), timeout=TIMEOUT_S, metadata=metadata)

    assert list(response.outputs["y"].float_val) == [3.0]


@pytest.mark.parametrize("name", TENSORS)
def test_tensor_in_every_encoding_is_read_as_tf_serving_reads_it(stubs: Stubs, name: str) -> None:
    shape, fields, values = TENSORS[name]
    request = stubs.predict_request()
    request.inputs["x"].Clear()
    request.inputs["x"].MergeFrom(type(request.inputs["x"])(dtype=1, **fields))
    request.inputs["x"].tensor_shape.SetInParent()
    for size in shape:
        request.inputs["x"].tensor_shape.dim.add(size=size)

    answered = stubs.call("Predict", request).outputs["y"]

    assert ([each.size for each in answered.tensor_shape.dim], list(answered.float_val)) == (shape, values)


@pytest.mark.parametrize("name", UNREADABLE)
def test_shape_that_can_be_none_is_refused(stubs: Stubs, name: str) -> None:
    request = stubs.predict_request()
    shape = request.inputs["x"].tensor_shape
    shape.CopyFrom(type(shape)(**UNREADABLE[name]))

    assert stubs.refused("Predict", request) == ("INVALID_ARGUMENT", "tensor parsing error: x")


def test_every_other_dtype_is_refused_by_name(stubs: Stubs) -> None:
    from tensorflow.core.framework import types_pb2

    for dtype in (2, 3, 4, 5, 6, 8, 9, 10, 14, 17, 18, 19, 22, 23):
        request = stubs.predict_request()
        request.inputs["x"].dtype = dtype
        name = types_pb2.DataType.Name(dtype).removeprefix("DT_").lower()

        code, details = stubs.refused("Predict", request)

        assert (code, f"Expects arg[0] to be float but {name} is provided" in details) == ("INVALID_ARGUMENT", True)


async def test_burst_on_one_connection_is_answered_or_refused_with_a_reason(target: Target, stubs: Stubs) -> None:
    from tensorflow_serving.apis import prediction_service_pb2_grpc  # noqa: TID251 - what a client uses

    ends: Counter[str] = Counter()
    async with grpc.aio.insecure_channel(target.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:
        service = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        async def predict() -> None:
            try:
                answer = await service.Predict(stubs.predict_request(), timeout=60)
                ends["right" if list(answer.outputs["y"].float_val) == [3.0] else "wrong"] += 1
            except grpc.aio.AioRpcError as error:
                ends[error.code().name] += 1

        async with asyncio.TaskGroup() as tasks:
            for _ in range(2000):
                tasks.create_task(predict())

    # The gateway may say that it is too much; gRPC's own way, CANCELLED, tells a client nothing.
    assert set(ends) <= ({"right"} if target.takes_reloads else {"right", "RESOURCE_EXHAUSTED"})


def test_client_that_leaves_harms_nobody(stubs: Stubs) -> None:
    many = stubs.predict_request([1.0] * 1_000_000)
    for _ in range(5):
        left = stubs.prediction.Predict.future(many, timeout=TIMEOUT_S)
        left.cancel()
        with contextlib.suppress(grpc.FutureCancelledError):
            left.result()

    assert list(stubs.predict(2.0).outputs["y"].float_val) == [3.0]
