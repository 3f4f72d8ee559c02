"""The model server's gRPC front: TF Serving's services as raw bytes over grpc.aio, and grpc.health.v1."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from serving import wire
from serving.errors import InternalError, ServingError
from serving.local import answers
from serving.local.keeper import Keeper
from serving.local.models import Models
from serving.local.workers import Workers

log: Final = logging.getLogger(__name__)

# From a request's bytes and the seconds left for it (None: no deadline) to the response's bytes; raises ServingError.
Call = Callable[[bytes, float | None], Awaitable[bytes]]

_STATUS_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

# TF Serving cuts its messages there: a shape error of a large model may quote pages of graph.
_MESSAGE_MAX: Final = 1024

# Once the last call is answered, what is left open is a Watch of health, or an answer that has yet to leave the socket.
_FLUSH_S: Final = 0.5

_OPTIONS: Final = (
    # Images and embeddings are larger than gRPC's 4 MiB; TF Serving sets no limit either.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A second server on the port must fail to start, not take half of the connections in silence.
    ("grpc.so_reuseport", 0),
)

# "" is the server as a whole; TF Serving sets the short names, grpc's convention is the full ones.
_HEALTH_NAMES: Final = (
    "",
    "ModelService",
    "PredictionService",
    "tensorflow.serving.ModelService",
    "tensorflow.serving.PredictionService",
)


class GrpcFront:
    """A gRPC server on one port; `start` binds it, `stop` ends it with the calls under way answered."""

    def __init__(self, models: Models, keeper: Keeper, workers: Workers, grace_s: float) -> None:
        """`grace_s`: what calls under way get at `stop`."""
        self._models = models
        self._keeper = keeper
        self._workers = workers
        self._grace_s = grace_s
        # Mutable: the calls under way, without health's, whose Watch never ends by itself.
        self._calls = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers(self._handlers())
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    def routes(self) -> dict[str, Call]:
        """Return what is served: method path -> call. A method that is not here is answered UNIMPLEMENTED."""
        return {
            wire.PREDICT: self._threaded(wire.PredictRequest, answers.predict),
            wire.GET_MODEL_METADATA: self._threaded(wire.GetModelMetadataRequest, answers.model_metadata),
            wire.GET_MODEL_STATUS: self._status,
            wire.RELOAD_CONFIG: self._reload,
        }

    async def start(self, host: str, port: int) -> int:
        """Bind and serve; return the port, the free one that was found when 0 was asked for. OSError when taken."""
        try:
            bound = int(self._server.add_insecure_port(f"{host}:{port}"))
        except RuntimeError as error:
            raise OSError(f"gRPC can't listen on {host}:{port}: {error}") from error
        await self._server.start()
        for name in _HEALTH_NAMES:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return bound

    async def stop(self) -> None:
        """Turn health to NOT_SERVING, take no new calls, and give those under way their grace."""
        await self._health.enter_graceful_shutdown()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._server.stop(self._grace_s), name="refuse new calls")
            try:
                async with asyncio.timeout(self._grace_s):
                    await self._is_idle.wait()
            except TimeoutError:
                log.warning("%d calls are cut off after %.0f s", self._calls, self._grace_s)
            await self._server.stop(_FLUSH_S)

    def _threaded(self, request_class: Any, answer: Callable[[Models, wire.Message], wire.Message]) -> Call:
        def work(body: bytes) -> bytes:
            return _to_bytes(answer(self._models, wire.parse(request_class, body)))

        async def call(body: bytes, time_left_s: float | None) -> bytes:
            # gRPC cancels this when the client's deadline passes, so no timer of our own is needed.
            return await self._workers.run(work, body)

        return call

    async def _status(self, body: bytes, time_left_s: float | None) -> bytes:
        # On the event loop: it is answered while every thread is busy, and takes no longer than the hand-over would.
        return _to_bytes(answers.model_status(self._models, wire.parse(wire.GetModelStatusRequest, body)))

    async def _reload(self, body: bytes, time_left_s: float | None) -> bytes:
        await self._keeper.reload(wire.parse(wire.ReloadConfigRequest, body).config, time_left_s)
        response = wire.ReloadConfigResponse()
        response.status.SetInParent()
        return _to_bytes(response)

    def _handlers(self) -> tuple[Any, ...]:
        """Group the calls by service for grpc, without serialisers: bytes in, bytes out."""
        services: dict[str, dict[str, Any]] = {}
        for path, call in self.routes().items():
            _, service, method = path.split("/")
            services.setdefault(service, {})[method] = self._handler(path, call)
        return tuple(grpc.method_handlers_generic_handler(service, methods) for service, methods in services.items())

    def _handler(self, path: str, call: Call) -> Any:
        """Make grpc's handler of a call: it is counted while it lasts, and errors become status codes."""

        async def handle(body: bytes, context: Any) -> bytes:
            self._calls += 1
            self._is_idle.clear()
            try:
                return await call(body, context.time_remaining())
            except ServingError as error:
                await _abort(context, error)
            except Exception as error:  # Bulkhead: one call must not end the service, nor show a traceback.
                log.exception("call failed: %s", path)
                await _abort(context, InternalError(f"{type(error).__name__} in {path}; the server's log says more"))
            finally:
                self._calls -= 1
                if not self._calls:
                    self._is_idle.set()
            raise AssertionError("abort returned")

        return grpc.unary_unary_rpc_method_handler(handle)


async def _abort(context: Any, error: ServingError) -> None:
    """End the call with the error; raises."""
    message = error.message
    if len(message) > _MESSAGE_MAX:
        message = message[:_MESSAGE_MAX] + "...TRUNCATED"
    await context.abort(_STATUS_CODES[error.code.number], message)


def _to_bytes(message: wire.Message) -> bytes:
    body: bytes = message.SerializeToString()
    return body
