"""Clients of the gateways: predictions at a fixed rate whatever comes back, each answer held against its request."""

import asyncio
import itertools
import json
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import grpc
import grpc.aio

from load.chaos.books import read_token
from load.chaos.model_server import BY, INPUT, MODEL
from load.switching.open_loop import Call, EvenLoop
from serving import wire

_TIMEOUT_S: Final = 10.0
# Beyond, the sender itself is what is slow: 10 s of 400 requests/s.
_UNDER_WAY_MAX: Final = 4_000
# Decisions that wait for their reward; older ones never get any.
_STOCK_MAX: Final = 20_000
# Connections: as many as a few applications have, so that all workers get some.
_CHANNELS: Final = 8


class Predictions(EvenLoop):
    """Mutable, beside the calls: decisions that nobody has rewarded yet, and what was wrong with answers."""

    def __init__(self, targets: Sequence[str], rate: float) -> None:
        """`targets`: the gRPC addresses of the gateways, used in turn as long as they serve; `rate` in requests/s."""
        # As docs/how-to/many-gateways.md tells clients that have no balancer: who is told NOT_SERVING goes elsewhere.
        config = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
        options = [
            ("grpc.service_config", json.dumps(config)),
            ("grpc.enable_http_proxy", 0),
            # Each a connection of its own.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 200),
        ]
        self._channels = [
            grpc.aio.insecure_channel(f"ipv4:{','.join(targets)}", options=options) for _ in range(_CHANNELS)
        ]
        self._calls: list[Any] = [channel.unary_unary(wire.PREDICT) for channel in self._channels]
        super().__init__(rate, asyncio.get_running_loop().time, _UNDER_WAY_MAX)
        self._numbers = itertools.count(1)
        self.stock: deque[str] = deque(maxlen=_STOCK_MAX)
        self.wrong: list[str] = []
        # The exact share of each arm by snapshot version: all gateways must say the same.
        self.shares: dict[tuple[int, int, int], set[int]] = {}

    async def close(self) -> None:
        """Drop the connections."""
        for channel in self._channels:
            await channel.close()

    @property
    def failed(self) -> list[Call]:
        """The calls that were not answered."""
        return [call for call in self.calls if call.error]

    def answered_after(self, since: float) -> float | None:
        """Return when the first call that was due after `since` was answered, None: none was yet."""
        ends = [call.due_at + call.seconds for call in self.calls if call.due_at >= since and not call.error]
        return min(ends, default=None)

    async def _ask(self) -> tuple[str, str]:
        number = next(self._numbers)
        call = self._calls[number % _CHANNELS](_request(number), timeout=_TIMEOUT_S)
        arm = ""
        try:
            body = await call
            trailers = dict(await call.trailing_metadata() or ())
            arm = str(trailers.get("turpin-arm", ""))
            self._take(number, body, str(trailers.get("turpin-decision", "")), arm)
        except grpc.aio.AioRpcError as refused:
            return arm, f"{refused.code().name}: {refused.details()}"
        return arm, ""

    def _take(self, number: int, body: bytes, decision: str, arm: str) -> None:
        """Hold the answer against its request and its token, and keep the decision."""
        answer = wire.PredictResponse.FromString(body)
        row, by = answer.outputs[INPUT], answer.outputs[BY]
        found = list(row.int64_val) or [int.from_bytes(row.tensor_content, "little")]
        version = list(by.float_val)
        if found != [number]:
            self.wrong.append(f"asked with {number}, answered with {found}")
            return
        if not decision:
            return
        token = read_token(decision)
        if version != [float(token.arm + 1)] or arm != f"v{token.arm + 1}":
            self.wrong.append(f"answered by version {version}, arm {arm!r}, the token says arm {token.arm}")
            return
        if token.is_learned:
            self.shares.setdefault((token.epoch, token.version, token.arm), set()).add(token.parts)
        self.stock.append(decision)


def _request(number: int) -> bytes:
    request = wire.PredictRequest(model_spec={"name": MODEL})
    tensor = request.inputs[INPUT]
    tensor.dtype = 9
    tensor.tensor_shape.dim.add(size=1)
    tensor.tensor_content = number.to_bytes(8, "little")
    return bytes(request.SerializeToString())
