"""The HTTP front: TF Serving's REST API, rewards, and health, on aiohttp.

aiohttp's own traps, each measured (a compressed body stalls all others for 2.45 s, 3,630 s of keep-alive, no deadline on
bodies): hence the settings of the runner in `serve_http`, and the deadline around every body.
"""

import ssl
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from router.fronts.aging import ended_at
from router.fronts.bodies import http_problem
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

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

# After SIGTERM calls under way have this long to end; the gRPC front is given the same.
DRAIN_S: Final = 10.0


class HttpFront:
    """The routes of port 8501. Mutable: whether it is ready."""

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
        self._rewards = rewards
        self._decide = decide
        self._message_bytes = message_bytes
        self._is_cors = is_cors
        self._connection_age_s = connection_age_s
        self.is_ready = False

    def application(self) -> web.Application:
        """Build the application; TF Serving's routes take every method, for it answers the wrong ones itself."""
        middlewares: list[Middleware] = [ended_at(self._connection_age_s)] if self._connection_age_s else []
        middlewares += [*([allow_any_origin] if self._is_cors else []), _bulkhead]
        app = web.Application(client_max_size=self._message_bytes, middlewares=middlewares)
        self._rewards.add_to(app)
        self._decide.add_to(app)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        # Capitals or not, as TF Serving has it; a `.` would leave out paths with a line break.
        app.router.add_route("*", r"/{version:[vV]1}{rest:(/[\s\S]*)?}", self._rest.answer)
        return app

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, request: web.Request) -> web.Response:
        return web.json_response({"ready": self.is_ready}, status=200 if self.is_ready else 503)


@web.middleware
async def _bulkhead(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        return http_problem(request, error)
    except Exception:  # Bulkhead: one call nobody foresaw must not end the service.
        log.exception("call failed", route=str(request.match_info.route.resource))
        return json_response(rest.error_body("internal error of the gateway"), InternalError.code.http_status)


async def serve_http(
    app: web.Application, host: str, port: int, *, is_shared: bool, tls: ssl.SSLContext | None = None
) -> tuple[web.AppRunner, int]:
    """Listen, with the settings that make aiohttp fit for the open; OSError if the address can't be had."""
    runner = web.AppRunner(
        app,
        auto_decompress=False,
        keepalive_timeout=30,
        lingering_time=1,
        handler_cancellation=True,
        access_log=None,
        shutdown_timeout=DRAIN_S,
    )
    await runner.setup()
    site = web.TCPSite(runner, host, port, reuse_port=is_shared or None, ssl_context=tls)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise OSError(f"can't listen on {host}:{port} (HTTP): {error.strerror or error}") from error
    return runner, int(runner.addresses[0][1])
