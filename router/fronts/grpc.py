"""The gRPC front: TF Serving's services for clients, who change only the host."""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any

from router.fronts.servers import MakeServer
from router.metrics import Metrics
from router.models import Models
from router.predict import DEADLINE_DEFAULT_S, Context, Predictor, Reply, read_timeout
from serving import wire
from serving.errors import DeadlineExceeded, InternalError, PermissionDenied, ServingError
from serving.grpc_server import GrpcServer, Handler
from serving.methods import METHODS, Method


class GrpcFront:
    """PredictionService, ModelService and grpc.health.v1 on one port; `server` starts and stops."""

    def __init__(
        self,
        *,
        predictor: Predictor,
        models: Models,
        metrics: Metrics,
        message_bytes: int,
        is_shared: bool,
        connection_age_s: float = 0.0,
        make_server: MakeServer = GrpcServer,
    ) -> None:
        self._predictor = predictor
        self._metrics = metrics
        self.server = make_server(
            {
                **{method.path: functools.partial(self._predict, method) for method in METHODS},
                wire.GET_MODEL_METADATA: _timed(models.metadata),
                wire.GET_MODEL_STATUS: _timed(models.status),
                wire.RELOAD_CONFIG: _refuse_reload,
            },
            # One byte more is answered RESOURCE_EXHAUSTED by grpc itself.
            message_bytes=message_bytes,
            is_port_shared=is_shared,
            connection_age_s=connection_age_s,
        )

    async def _predict(self, method: Method, body: bytes, context: Any) -> bytes:
        started = time.perf_counter()
        try:
            reply = await self._predictor.predict(body, _context(context, asyncio.get_running_loop().time()), method)
        except ServingError as error:
            self._metrics.failed("grpc", error)
            raise
        except Exception:
            self._metrics.failed("grpc", InternalError(""))
            raise
        self._metrics.answered("grpc", time.perf_counter() - started, reply.backend_s)
        if reply.decision:
            context.set_trailing_metadata(_trailers(reply))
        return reply.body


def _trailers(reply: Reply) -> tuple[tuple[str, str], ...]:
    return (
        ("turpin-decision", reply.decision),
        ("turpin-arm", reply.arm),
        ("turpin-experiment", reply.experiment),
    )


def _timed(method: Callable[[bytes, float], Awaitable[bytes]]) -> Handler:
    """Give a method the seconds its client has left."""

    async def call(body: bytes, context: Any) -> bytes:
        left_s = context.time_remaining()
        return await method(body, DEADLINE_DEFAULT_S if left_s is None else left_s)

    return call


def _context(context: Any, now: float) -> Context:
    remaining = context.time_remaining()
    unit = request_id = segment = b""
    for key, value in context.invocation_metadata() or ():
        if key == "turpin-unit":
            unit = _bytes(value)
        elif key == "turpin-request-id":
            request_id = _bytes(value)
        elif key == "turpin-segment":
            segment = _bytes(value)
        elif key == "turpin-timeout-ms" and remaining is None:
            remaining = read_timeout(value)
    if remaining is not None and remaining <= 0:
        raise DeadlineExceeded("the deadline had passed when the request arrived", "arrival")
    deadline = now + (DEADLINE_DEFAULT_S if remaining is None else remaining)
    return Context(deadline, unit, request_id, segment, _bytes(context.peer()))


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


async def _refuse_reload(body: bytes, context: Any) -> bytes:
    raise PermissionDenied(
        "Turpin owns the model configuration behind this address: use its admin API to load or unload versions, "
        "or call HandleReloadConfigRequest on the model server itself"
    )
