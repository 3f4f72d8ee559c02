"""The HTTP front: TF Serving's REST API, rewards, and health, on aiohttp.

aiohttp's own traps, each measured (a compressed body stalls all others for 2.45 s, 3,630 s of keep-alive, no deadline on
bodies): hence the settings below, and the deadline around every body.
"""

import asyncio
import ssl
from typing import Any, Final, TypeVar

import structlog
from aiohttp import HttpVersion11, web

from router.fronts.aging import ending_at
from router.fronts.bodies import Handler, http_problem, only
from router.fronts.cork import CorkedServer
from router.fronts.cors import allow_any_origin
from router.fronts.decide import DecideRoute
from router.fronts.rest import RestRoutes, json_response
from router.fronts.rewards import RewardRoutes
from router.metrics import Metrics
from router.models import Models
from router.predict import Predictor
from serving import rest
from serving.errors import InternalError

log = structlog.get_logger(__name__)

_Runner = TypeVar("_Runner", bound=web.BaseRunner)

# After SIGTERM calls under way have this long to end; the gRPC front is given the same.
DRAIN_S: Final = 10.0
# What makes aiohttp fit for the open.
_SETTINGS: Final[dict[str, Any]] = {
    "auto_decompress": False,
    "keepalive_timeout": 30,
    "lingering_time": 1,
    "handler_cancellation": True,
    "access_log": None,
}
_CLOSING: Final[dict[str, Any]] = {"shutdown_timeout": DRAIN_S}
# Half of it is for bodies that are on their way: what they ask for is to be answered in the other half.
_BODIES_S: Final = DRAIN_S / 2
# Of a path that is logged: clients make them up.
_PATH_SHOWN: Final = 200


class HttpFront:
    """The routes of port 8501. Mutable: whether it is ready, and the calls that began before their bodies were whole."""

    def __init__(
        self,
        *,
        predictor: Predictor,
        models: Models,
        rewards: RewardRoutes,
        decide: DecideRoute,
        metrics: Metrics,
        message_bytes: int,
        is_cors: bool = False,
        connection_age_s: float = 0.0,
    ) -> None:
        """`connection_age_s`: clients are asked to connect anew so often; 0: never."""
        self._rest = RestRoutes(predictor=predictor, models=models, metrics=metrics, message_bytes=message_bytes)
        self._by_path: dict[str, Handler] = {
            **rewards.routes,
            **decide.routes,
            "/healthz": only("GET", self._healthz),
            "/readyz": only("GET", self._readyz),
        }
        handle: Handler = allow_any_origin(self._answer) if is_cors else self._answer
        self._handle = ending_at(connection_age_s, handle) if connection_age_s else handle
        self.is_ready = False
        self._receiving: set[asyncio.Task[Any]] = set()

    async def bodies_come(self) -> None:
        """Wait for the calls whose bodies are on their way now, for a while."""
        if self._receiving:
            await asyncio.wait(self._receiving, timeout=_BODIES_S)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer any request, without aiohttp's application: six paths need neither its router nor its middleware."""
        return await self._handle(request)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.rel_url.raw_path
        try:
            if not request.content.is_eof():
                task = asyncio.current_task()
                assert task is not None  # noqa: S101 aiohttp makes one for each request
                self._receiving.add(task)
                task.add_done_callback(self._receiving.discard)
                await _let_body_come(request)
            # What is %-encoded without need is the same path.
            handler = self._by_path.get(path) or self._by_path.get(request.rel_url.path_safe)
            if handler is not None:
                return await handler(request)
            # Capitals or not, as TF Serving has it; it takes every method, for it answers the wrong ones itself.
            if path[:4].lower() == "/v1/" or path.lower() == "/v1":
                return await self._rest.answer(request)
            raise web.HTTPNotFound
        except web.HTTPException as error:
            return http_problem(request, error)
        except Exception:  # Bulkhead: one call nobody foresaw must not end the service.
            log.exception("call failed", path=path[:_PATH_SHOWN])
            return json_response(rest.error_body("internal error of the gateway"), InternalError.code.http_status)

    async def _healthz(self, request: web.BaseRequest) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, request: web.BaseRequest) -> web.Response:
        return web.json_response({"ready": self.is_ready}, status=200 if self.is_ready else 503)


async def _let_body_come(request: web.BaseRequest) -> None:
    """Tell a client that waits with its body to send it, as curl does with large ones (RFC 9110, 10.1.1)."""
    expected = request.headers.get("Expect", "")
    if expected.lower() == "100-continue" and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # It is no part of the answer.
        request.writer.output_size = 0


class _FrontRunner(web.ServerRunner):
    """Ends as aiohttp does, but lets bodies come first: aiohttp takes nothing from a connection that is to close, so that
    calls under way waited for the rest of theirs until they were cut (measured: none of 8 was answered, in 10 s)."""

    def __init__(self, front: HttpFront) -> None:
        super().__init__(CorkedServer(front.answer, **_SETTINGS), **_CLOSING)
        self._front = front

    async def cleanup(self) -> None:
        now = asyncio.get_running_loop().time
        end_at = now() + DRAIN_S
        for site in self.sites:
            await site.stop()
        await self._front.bodies_come()
        self._shutdown_timeout = end_at - now()
        await super().cleanup()


async def serve_front(
    front: HttpFront, host: str, port: int, *, is_shared: bool, tls: ssl.SSLContext | None = None
) -> tuple[web.ServerRunner, int]:
    """Listen for predictions and rewards; OSError if the address can't be had."""
    return await _listen(_FrontRunner(front), host, port, is_shared, tls)


async def serve_http(
    app: web.Application, host: str, port: int, *, is_shared: bool, tls: ssl.SSLContext | None = None
) -> tuple[web.AppRunner, int]:
    """Listen for an application of many routes; OSError if the address can't be had."""
    return await _listen(web.AppRunner(app, **_SETTINGS, **_CLOSING), host, port, is_shared, tls)


async def _listen(
    runner: _Runner, host: str, port: int, is_shared: bool, tls: ssl.SSLContext | None
) -> tuple[_Runner, int]:
    await runner.setup()
    site = web.TCPSite(runner, host, port, reuse_port=is_shared or None, ssl_context=tls)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise OSError(f"can't listen on {host}:{port} (HTTP): {error.strerror or error}") from error
    return runner, int(runner.addresses[0][1])
