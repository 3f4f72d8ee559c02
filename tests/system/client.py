"""A client of the gateway over both ports: predictions with what came beside them, and rewards."""

import base64
import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self

import aiohttp
import grpc
import grpc.aio

from serving import wire
from tests.system.gateway import Gateway
from tests.system.model_server import MODEL, PIXELS

TIMEOUT_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A prediction: which version made it, and what the gateway said beside it (empty strings when it said nothing)."""

    version: int
    model: str
    images: tuple[float, ...]
    decision: str = ""
    arm: str = ""
    experiment: str = ""


class Refusal(Exception):
    """An answer that was an error: the gRPC code's name or the HTTP status, and the message."""

    def __init__(self, code: str | int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.headers = code, message, dict(headers or {})


def predict_request(images: Sequence[float], model: str = MODEL, **spec: Any) -> wire.Message:
    """Return a PredictRequest for these pixels, PIXELS a row."""
    shape = {"dim": [{"size": len(images) // PIXELS}, {"size": PIXELS}]}
    tensor = wire.TensorProto(dtype=1, tensor_shape=shape, float_val=images)
    return wire.PredictRequest(model_spec={"name": model, **spec}, inputs={"images": tensor})


def token_fields(token: str) -> dict[str, Any]:
    """Read what a decision token says, as anybody can; only its signature takes the key."""
    raw = base64.urlsafe_b64decode(token + "==")
    names = ("format", "key", "mode", "segment", "epoch", "arm", "parts", "version", "block", "time_us", "rows")
    sizes = (1, 1, 1, 1, 8, 2, 4, 4, 4, 8, 4)
    ends = list(itertools.accumulate(sizes))
    fields: dict[str, Any] = {
        name: int.from_bytes(raw[end - size : end]) for name, size, end in zip(names, sizes, ends, strict=True)
    }
    return fields | {"nonce": raw[ends[-1] : ends[-1] + 16]}


@dataclass(slots=True)
class Client:
    """Connections to a gateway. Mutable: the numbers it makes its images of, so that no two requests are alike."""

    session: aiohttp.ClientSession
    channel: Any
    counter: "itertools.count[int]" = field(default_factory=itertools.count)

    @classmethod
    def to(cls, gateway: Gateway) -> AbstractAsyncContextManager[Self]:
        """Connect to a gateway for as long as the `async with` lasts."""
        return cls.at(gateway.grpc, gateway.http)

    @classmethod
    @asynccontextmanager
    async def at(cls, grpc_port: int, http_port: int) -> AsyncIterator[Self]:
        """Connect to two ports of loopback for as long as the `async with` lasts."""
        options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1)]
        # A pool of its own: channels to the same address share their connection otherwise.
        options += [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 200)]
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{http_port}", timeout=timeout) as session,
            grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}", options=options) as channel,
        ):
            yield cls(session, channel)

    def images(self, rows: int = 1) -> list[float]:
        """Return pixels that no other request has."""
        return [float(next(self.counter) % 2**20) for _ in range(rows * PIXELS)]

    async def call(
        self, method: str, body: bytes, *, metadata: Sequence[tuple[str, str]] = (), timeout_s: float | None = TIMEOUT_S
    ) -> tuple[bytes, dict[str, str]]:
        """Make any unary gRPC call; return the answer and its trailing metadata; raises Refusal."""
        call = self.channel.unary_unary(method)(body, timeout=timeout_s, metadata=metadata)
        try:
            answer: bytes = await call
        except grpc.aio.AioRpcError as error:
            raise Refusal(error.code().name, error.details() or "") from None
        return answer, dict(await call.trailing_metadata() or ())

    async def predict(
        self, *, rows: int = 1, model: str = MODEL, metadata: Sequence[tuple[str, str]] = (), **spec: Any
    ) -> Answer:
        """Predict over gRPC and check that the rows that come back are ours; raises Refusal."""
        images = self.images(rows)
        request = predict_request(images, model, **spec)
        body, trailers = await self.call(wire.PREDICT, request.SerializeToString(), metadata=metadata)
        response = wire.PredictResponse.FromString(body)
        echoed = tuple(response.outputs["images"].float_val)
        assert echoed == tuple(images), f"not our rows: sent {images}, got {echoed}"
        made_by = set(response.outputs["version"].float_val)
        assert made_by == {float(response.model_spec.version.value)}, f"rows of {made_by} in {response.model_spec}"
        return Answer(
            response.model_spec.version.value,
            response.model_spec.name,
            echoed,
            *(trailers.get(f"turpin-{name}", "") for name in ("decision", "arm", "experiment")),
        )

    async def predict_rest(
        self, *, rows: int = 1, path: str = MODEL, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Predict over REST and check that the rows that come back are ours; raises Refusal."""
        images = self.images(rows)
        sent = [images[start : start + PIXELS] for start in range(0, len(images), PIXELS)]
        body = json.dumps({"instances": sent}).encode()
        answer, answered = await self.http("POST", f"/v1/models/{path}:predict", body, headers)
        predictions = json.loads(answer)["predictions"]
        assert [row["images"] for row in predictions] == sent, f"not our rows: sent {sent}, got {predictions}"
        (version,) = {int(row["version"]) for row in predictions}
        said = (answered.get(f"turpin-{name}", "") for name in ("decision", "arm", "experiment"))
        return Answer(version, path, tuple(images), *said)

    async def http(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[bytes, Mapping[str, str]]:
        """Make any HTTP call; return body and headers of an answer below 300; raises Refusal."""
        async with self.session.request(method, path, data=body, headers=headers) as response:
            answer = await response.read()
            if response.status >= 300:
                raise Refusal(response.status, answer.decode(errors="replace"), response.headers)
            return answer, response.headers

    async def reward(self, decision: str, reward: float) -> int:
        """Send one reward; return the status of its acknowledgement (202 or 200); raises Refusal."""
        body = json.dumps({"decision": decision, "reward": reward}).encode()
        async with self.session.post("/v1/rewards", data=body) as response:
            answer = await response.read()
            if response.status >= 300:
                raise Refusal(response.status, answer.decode(errors="replace"), response.headers)
            return response.status
