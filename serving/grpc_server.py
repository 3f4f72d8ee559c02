"""A grpc.aio server of unary calls that are bytes in and bytes out: named errors become status codes, health is told,
and the end waits for the calls under way and for nothing else. The model server and the gateway both stand on it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from serving.errors import InternalError, ServingError

log: Final = logging.getLogger(__name__)

# From a request's bytes and grpc's context to the answer's bytes; raises ServingError.
Handler: TypeAlias = Callable[[bytes, Any], Awaitable[bytes]]

# gRPC's settings of a server by their names ("grpc.max_connection_age_ms").
Arguments: TypeAlias = Sequence[tuple[str, int | str]]

_STATUS_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

# TF Serving cuts its messages there: a shape error of a large model may quote pages of graph. In bytes, as it counts:
# gRPC sends each byte that is not ASCII as three, in headers of 8 KiB.
_MESSAGE_BYTES_MAX: Final = 1024

# gRPC ends calls that come in the very moment of the end as CANCELLED (grpc/grpc#41785; 16 in 20 restarts under 500 calls/s),
# which clients don't retry. Who watches health leaves when told: until nobody calls for .1 s, or a second is over. Both are
# counted in turns of the loop: a process that the machine starves has calls waiting that it has yet to see, and takes longer.
_TURN_S: Final = 0.01
_QUIET_TURNS: Final = 10
_QUIET_TURNS_MAX: Final = 100

# Once the last call is answered, what is left open is a Watch of health, or an answer that has yet to leave the socket.
_FLUSH_S: Final = 0.5

# Calls that wait for the loop to take them. From its default of 1,000 on gRPC ends some at random as CANCELLED (of 2,000
# begun at once on one connection 84 to 158 did), which clients take for their own doing and don't retry. Our own queues are
# bounded too, and refuse with a reason; these bounds only keep memory.
_PENDING_MAX: Final = 8192
_PENDING_HARD_MAX: Final = 16384

# Calls of one connection; others wait at the client, as HTTP/2 has it. With a bound gRPC also counts those that a client
# begins and takes back at once: of 20,000 over four connections a bound of 1,024 refused 15,904; without one all were
# taken, 200 MB, and calls of others were ended as CANCELLED (above). Of a burst that comes before the client has heard of
# the bound the rest is UNAVAILABLE: 2,000 at once, as the conformance suite sends, are within it.
_STREAMS_MAX: Final = 2048

# A connection that has its age takes no new calls, and is cut with those that outlast this: longer than any predict takes.
_AGE_GRACE_MS: Final = 300_000

# "" is the server as a whole; TF Serving sets the short names, grpc's convention is the full ones.
HEALTH_NAMES: Final = (
    "",
    "ModelService",
    "PredictionService",
    "tensorflow.serving.ModelService",
    "tensorflow.serving.PredictionService",
)


class GrpcServer:
    """One server on one port. Made inside a running loop.

    Mutable: the calls begun so far and those under way, without health's, whose Watch never ends by itself.
    """

    def __init__(
        self,
        routes: Mapping[str, Handler],
        *,
        message_bytes: int,
        is_port_shared: bool,
        connection_age_s: float = 0.0,
        channel_arguments: Arguments = (),
    ) -> None:
        """`routes`: method path -> handler; any other method is UNIMPLEMENTED. `message_bytes`: largest request, -1 any.

        `is_port_shared`: other processes may listen beside this one; otherwise a second server on the port fails.
        `connection_age_s`: clients are asked to connect anew so often, a tenth sooner or later; 0: never.
        `channel_arguments` are gRPC's own, and win over ours.
        """
        self._begun = self._calls = 0
        self._is_stopping = False
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", message_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", int(is_port_shared)),
                ("grpc.server.max_pending_requests", _PENDING_MAX),
                ("grpc.server.max_pending_requests_hard_limit", _PENDING_HARD_MAX),
                ("grpc.max_concurrent_streams", _STREAMS_MAX),
                *_aged(connection_age_s),
                *channel_arguments,
            )
        )
        self._server.add_generic_rpc_handlers(self._services(routes))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    async def start(self, address: str, *others: str, credentials: Any = None) -> int:
        """Listen on host:port, and return the port, the free one that was found when 0 was asked for. OSError.

        `others` are more addresses, as `unix:/path/of/a/socket`. `credentials`: gRPC's, for TLS; None: plain.
        """
        ports = []
        for one in (address, *others):
            try:
                if credentials is None:
                    ports.append(int(self._server.add_insecure_port(one)))
                else:
                    ports.append(int(self._server.add_secure_port(one, credentials)))
            except RuntimeError as error:
                raise OSError(f"can't listen on {one} (gRPC): {error}") from error
        await self._server.start()
        return ports[0]

    async def set_serving(self, is_serving: bool) -> None:
        """Tell health checks whether to send requests here."""
        serving = health_pb2.HealthCheckResponse.SERVING
        for name in HEALTH_NAMES:
            await self._health.set(name, serving if is_serving else health_pb2.HealthCheckResponse.NOT_SERVING)

    async def stop(self, grace_s: float) -> None:
        """Turn health to NOT_SERVING, give clients a moment to leave, and calls under way their grace; take no new ones."""
        await self.set_serving(is_serving=False)
        if not self._is_stopping:
            self._is_stopping = True
            await quiet(lambda: self._begun)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._server.stop(grace_s), name="refuse new calls")
            try:
                async with asyncio.timeout(grace_s):
                    await self._is_idle.wait()
            except TimeoutError:
                log.warning("%d calls are cut off after %.0f s", self._calls, grace_s)
            await self._server.stop(_FLUSH_S)

    def _services(self, routes: Mapping[str, Handler]) -> tuple[Any, ...]:
        """Group the calls by service for grpc, without serialisers: bytes in, bytes out."""
        services: dict[str, dict[str, Any]] = {}
        for path, handler in routes.items():
            _, service, method = path.split("/")
            services.setdefault(service, {})[method] = self._method(path, handler)
        return tuple(grpc.method_handlers_generic_handler(service, methods) for service, methods in services.items())

    def _method(self, path: str, handler: Handler) -> Any:
        """Make grpc's handler of ours: it is counted while it lasts, and errors become status codes."""

        async def handle(body: bytes, context: Any) -> bytes:
            self._begun += 1
            self._calls += 1
            self._is_idle.clear()
            try:
                return await handler(body, context)
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


async def quiet(begun: Callable[[], int]) -> None:
    """Return when no call begins for a moment, or that was waited for long enough; `begun` counts those that have."""
    before, turns = begun(), 0
    for _ in range(_QUIET_TURNS_MAX):
        await asyncio.sleep(_TURN_S)
        turns = turns + 1 if before == begun() else 0
        before = begun()
        if turns == _QUIET_TURNS:
            break


def _aged(age_s: float) -> Arguments:
    """Return gRPC's settings for connections that end at this age, each a tenth sooner or later; 0: at none."""
    if not age_s:
        return ()
    return ("grpc.max_connection_age_ms", int(age_s * 1e3)), ("grpc.max_connection_age_grace_ms", _AGE_GRACE_MS)


async def _abort(context: Any, error: ServingError) -> None:
    """End the call with the error; raises."""
    message = error.message
    if len(encoded := message.encode(errors="replace")) > _MESSAGE_BYTES_MAX:
        message = encoded[:_MESSAGE_BYTES_MAX].decode(errors="ignore") + "...TRUNCATED"
    await context.abort(_STATUS_CODES[error.code.number], message)
