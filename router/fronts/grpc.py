"""The gRPC front: TF Serving's services on grpc.aio, raw bytes in and out, so that a client changes only the host."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from router.metrics import Metrics
from router.models import Models
from router.predict import DEADLINE_DEFAULT_S, Context, Predictor, Reply
from serving.errors import DeadlineExceeded, InternalError, PermissionDenied, ServingError

log = structlog.get_logger(__name__)

_STATUS: Final = {status.value[0]: status for status in grpc.StatusCode}
# TF Serving's health service, where it is enabled, uses these short names beside the empty one.
_HEALTH_NAMES: Final = ("", "PredictionService", "ModelService")
# TF Serving cuts longer messages in the same way; gRPC sends them in a header of limited size.
_MESSAGE_CHARS_MAX: Final = 1024

Unary: TypeAlias = Callable[[bytes, Any], Awaitable[bytes]]


class GrpcFront:
    """A grpc.aio server for PredictionService, ModelService and grpc.health.v1. Mutable: the server, its health."""

    def __init__(self, *, predictor: Predictor, models: Models, metrics: Metrics, message_bytes: int) -> None:
        self._predictor = predictor
        self._models = models
        self._metrics = metrics
        # One byte more than the limit is never accepted; grpc answers RESOURCE_EXHAUSTED by itself.
        self._options = [
            ("grpc.max_receive_message_length", message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 1),
        ]
        self._server: Any = None
        self._health = health.aio.HealthServicer()

    async def start(self, address: str) -> int:
        """Listen on host:port and say which port it is; OSError if that can't be had."""
        self._server = grpc.aio.server(options=self._options)
        self._server.add_generic_rpc_handlers(
            (
                _service("tensorflow.serving.PredictionService", self._prediction_methods()),
                _service("tensorflow.serving.ModelService", self._model_methods()),
            )
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        try:
            port = int(self._server.add_insecure_port(address))
        except RuntimeError as error:
            raise OSError(f"can't listen on {address} (gRPC): {error}") from error
        await self._server.start()
        return port

    async def set_serving(self, is_serving: bool) -> None:
        """Tell health checks whether to send requests here."""
        status = health_pb2.HealthCheckResponse.SERVING if is_serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in _HEALTH_NAMES:
            await self._health.set(name, status)

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, let those under way end, at most for `grace_s`."""
        if self._server is not None:
            await self._server.stop(grace_s)

    def _prediction_methods(self) -> dict[str, Unary]:
        return {"Predict": self._predict, "GetModelMetadata": self._call(self._models.metadata)}

    def _model_methods(self) -> dict[str, Unary]:
        return {
            "GetModelStatus": self._call(self._models.status),
            "HandleReloadConfigRequest": self._call(_refuse_reload),
        }

    async def _predict(self, body: bytes, context: Any) -> bytes:
        started = time.perf_counter()
        try:
            reply = await self._predictor.predict(body, _context(context, asyncio.get_running_loop().time()))
        except ServingError as error:
            self._metrics.failed("grpc", error)
            return await _abort(context, error)
        except Exception:  # Bulkhead: one call nobody foresaw must not end the service.
            log.exception("call failed", method="Predict")
            fault = InternalError("internal error of the gateway")
            self._metrics.failed("grpc", fault)
            return await _abort(context, fault)
        self._metrics.answered("grpc", time.perf_counter() - started, reply.backend_s)
        if reply.decision:
            context.set_trailing_metadata(trailers(reply))
        return reply.body

    @staticmethod
    def _call(method: Callable[[bytes, float], Awaitable[bytes]]) -> Unary:
        async def call(body: bytes, context: Any) -> bytes:
            timeout_s = context.time_remaining()
            try:
                return await method(body, DEADLINE_DEFAULT_S if timeout_s is None else timeout_s)
            except ServingError as error:
                return await _abort(context, error)

        return call


def trailers(reply: Reply) -> tuple[tuple[str, str], ...]:
    """Return what tells a client which decision its answer came from."""
    return (
        ("turpin-decision", reply.decision),
        ("turpin-arm", reply.arm),
        ("turpin-experiment", reply.experiment),
    )


def _service(name: str, methods: dict[str, Unary]) -> Any:
    handlers = {key: grpc.unary_unary_rpc_method_handler(method) for key, method in methods.items()}
    return grpc.method_handlers_generic_handler(name, handlers)


def _context(context: Any, now: float) -> Context:
    remaining = context.time_remaining()
    unit = request_id = b""
    for key, value in context.invocation_metadata() or ():
        if key == "turpin-unit":
            unit = _bytes(value)
        elif key == "turpin-request-id":
            request_id = _bytes(value)
        elif key == "turpin-timeout-ms" and remaining is None and value.isdecimal():
            remaining = int(value) * 1e-3
    if remaining is not None and remaining <= 0:
        raise DeadlineExceeded("the deadline had passed when the request arrived", "arrival")
    return Context(now + (DEADLINE_DEFAULT_S if remaining is None else remaining), unit, request_id)


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


async def _refuse_reload(body: bytes, timeout_s: float) -> bytes:
    raise PermissionDenied(
        "Turpin owns the model configuration behind this address: use its admin API to load or unload versions, "
        "or call HandleReloadConfigRequest on the model server itself"
    )


async def _abort(context: Any, error: ServingError) -> bytes:
    message = error.message
    if len(message) > _MESSAGE_CHARS_MAX:
        message = message[:_MESSAGE_CHARS_MAX] + "...TRUNCATED"
    await context.abort(_STATUS[error.code.number], message)
    raise AssertionError("abort returns never")
