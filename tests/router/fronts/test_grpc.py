"""A client of TF Serving changes only the host: its calls are answered, and told what was decided."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2

from router.fronts.grpc import GrpcFront
from router.snapshot import PARTS
from serving import wire
from serving.errors import (
    BackendError,
    Code,
    DeadlineExceeded,
    InternalError,
    InvalidArgument,
    QueueFull,
    ServingError,
    Unavailable,
)
from serving.upstream import Servable
from tests.router.fronts.bench import MESSAGE_BYTES, Behind
from tests.router.samples import BACKEND
from tests.serving.replica import request

V1 = Servable(BACKEND, "digits", 1)
CLIENT_S = 10.0


def body(model: str = "digits", *, version: int | None = None, rows: int = 2) -> bytes:
    message = request(0, rows)
    message.model_spec.name = model
    if version is not None:
        message.model_spec.version.value = version
    return bytes(message.SerializeToString())


class Client:
    """A client of raw bytes."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel

    async def call(
        self, method: str, sent: bytes, metadata: Sequence[tuple[str, str]] = (), timeout_s: float | None = CLIENT_S
    ) -> tuple[bytes, dict[str, str]]:
        """Return the answer and its trailers; AioRpcError otherwise."""
        call = self.channel.unary_unary(method)(sent, timeout=timeout_s, metadata=metadata)
        answer: bytes = await call
        return answer, dict(await call.trailing_metadata())

    async def refused(self, method: str, sent: bytes, **more: Any) -> tuple[str, str]:
        """Return the code and the words of a call that must fail."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call(method, sent, **more)
        return caught.value.code().name, caught.value.details() or ""


@contextlib.asynccontextmanager
async def serving(behind: Behind) -> AsyncIterator[Client]:
    """The front on a free port, and a client of it."""
    front = GrpcFront(
        predictor=behind.bench.predictor,
        models=behind.models,
        metrics=behind.bench.metrics,
        message_bytes=MESSAGE_BYTES,
        is_shared=False,
    )
    port = await front.server.start("127.0.0.1:0")
    await front.server.set_serving(True)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Client(channel)
    finally:
        await front.server.stop(1.0)


async def test_decision_is_told_in_the_trailers() -> None:
    behind = Behind(parts=(0, PARTS))
    async with serving(behind) as client:
        answer, trailers = await client.call(wire.PREDICT, body())

    response = wire.PredictResponse.FromString(answer)
    assert (response.model_spec.name, response.model_spec.version.value) == ("digits", 2)
    assert list(response.outputs["x"].int64_val) == [0, 1]
    assert (trailers["turpin-arm"], trailers["turpin-experiment"]) == ("v2", "digits-2026")
    assert behind.bench.keys.verify(trailers["turpin-decision"]).arm == 1
    assert behind.requests("grpc", "ok") == 1.0


@pytest.mark.parametrize("sent", [body("bystander"), body(version=1)], ids=["no experiment", "pinned"])
async def test_nothing_is_told_where_nothing_was_decided(sent: bytes) -> None:
    behind = Behind()
    async with serving(behind) as client:
        _, trailers = await client.call(wire.PREDICT, sent)

    assert [name for name in trailers if name.startswith("turpin-")] == []
    assert behind.requests("grpc", "ok") == 1.0


async def test_retried_request_id_gets_the_same_decision() -> None:
    behind = Behind()
    async with serving(behind) as client:
        told = [
            (await client.call(wire.PREDICT, body(), [("turpin-request-id", name)]))[1]["turpin-decision"]
            for name in ("a", "a", "b", "c", "d", "e")
        ]

    decisions = [behind.bench.keys.verify(token) for token in told]
    assert (decisions[0].arm, decisions[0].nonce) == (decisions[1].arm, decisions[1].nonce)
    assert len({decision.nonce for decision in decisions}) == 5


DEADLINES: Mapping[str, tuple[float | None, str | None, float]] = {
    "none": (None, None, 30.0),
    "gRPC's": (7.0, None, 7.0),
    "the header's": (None, "2500", 2.5),
    "gRPC's before the header's": (7.0, "2500", 7.0),
}


@pytest.mark.parametrize("case", DEADLINES)
async def test_deadline_is_what_the_client_said(case: str) -> None:
    timeout_s, header, expected_s = DEADLINES[case]
    behind = Behind()
    before = asyncio.get_running_loop().time()
    async with serving(behind) as client:
        metadata = [] if header is None else [("turpin-timeout-ms", header)]
        await client.call(wire.PREDICT, body(), metadata, timeout_s)
    after = asyncio.get_running_loop().time()

    (deadline,) = [deadline for _, deadline in behind.dispatcher.asked]
    # Of gRPC's deadline the way to the server takes its part, and gRPC rounds it up by some milliseconds.
    assert before + expected_s - 0.5 <= deadline <= after + expected_s + 0.1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unavailable("tfs:1 is away"), "UNAVAILABLE"),
        (InvalidArgument("no such input"), "INVALID_ARGUMENT"),
        (QueueFull("the queue is full"), "RESOURCE_EXHAUSTED"),
        (DeadlineExceeded("too late", "queue"), "DEADLINE_EXCEEDED"),
        (InternalError("cut off"), "INTERNAL"),
        (BackendError(Code.ABORTED, "its own words"), "ABORTED"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_error_has_its_code_and_words_and_is_counted_by_its_label(error: ServingError, code: str) -> None:
    behind = Behind({V1: error}, parts=(PARTS, 0))
    async with serving(behind) as client:
        assert await client.refused(wire.PREDICT, body()) == (code, error.message)

    assert behind.requests("grpc", error.label) == 1.0
    assert behind.bench.count("turpin_shed_total", reason="queue_full") == float(isinstance(error, QueueFull))
    assert behind.bench.count("turpin_deadline_exceeded_total", stage="queue") == float(code == "DEADLINE_EXCEEDED")


async def test_fault_of_ours_shows_nothing_of_itself_and_is_counted() -> None:
    behind = Behind()
    behind.bench.predictor._dispatchers = {}
    async with serving(behind) as client:
        code, words = await client.refused(wire.PREDICT, body())

    assert code == "INTERNAL"
    assert "tfs-a" not in words
    assert behind.requests("grpc", "internal") == 1.0


async def test_message_beyond_the_limit_is_refused() -> None:
    async with serving(Behind()) as client:
        code, _ = await client.refused(wire.PREDICT, bytes(MESSAGE_BYTES + 1))

    assert code == "RESOURCE_EXHAUSTED"


async def test_reload_is_refused_with_what_to_do_instead() -> None:
    behind = Behind()
    async with serving(behind) as client:
        code, words = await client.refused(wire.RELOAD_CONFIG, b"")

    assert (code, behind.upstream.fake.reloads) == ("PERMISSION_DENIED", [])
    assert "admin API" in words


async def test_metadata_and_status_are_answered_under_the_public_name() -> None:
    async with serving(Behind()) as client:
        spec = wire.GetModelMetadataRequest(model_spec={"name": "digits"}, metadata_field=["signature_def"])
        metadata, _ = await client.call(wire.GET_MODEL_METADATA, spec.SerializeToString())
        status, _ = await client.call(wire.GET_MODEL_STATUS, spec.SerializeToString())

    assert wire.GetModelMetadataResponse.FromString(metadata).model_spec.name == "digits"
    found = wire.GetModelStatusResponse.FromString(status).model_version_status
    # Version 3 is loaded too, but is no arm.
    assert [(one.version, one.state) for one in found] == [(2, wire.AVAILABLE), (1, wire.AVAILABLE)]


async def test_health_says_whether_it_serves() -> None:
    behind = Behind()
    async with serving(behind) as client:
        raw, _ = await client.call("/grpc.health.v1.Health/Check", b"")

    assert health_pb2.HealthCheckResponse.FromString(raw).status == health_pb2.HealthCheckResponse.SERVING
