"""The HTTP front: TF Serving's REST API, rewards, and health, on aiohttp.

aiohttp's own traps, each measured (a compressed body stalls all others for 2.45 s, 3,630 s of keep-alive, no deadline on
bodies): hence the settings of the runner in `serve_http`, and the deadline around every body.
"""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from typing import Final, ParamSpec, TypeAlias, TypeVar

import structlog
from aiohttp import web

from router.fronts.bodies import BodyRefused, http_problem, read_body
from router.fronts.rewards import RewardRoutes
from router.metrics import Metrics
from router.models import Models
from router.predict import DEADLINE_DEFAULT_S, Context, Predictor, Reply, read_timeout
from router.problems import Problem
from serving import rest, wire
from serving.errors import InternalError, InvalidArgument, MessageTooLarge, ServingError, Unimplemented

log = structlog.get_logger(__name__)

_P = ParamSpec("_P")
_T = TypeVar("_T")
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

# After SIGTERM calls under way have this long to end; the gRPC front is given the same.
DRAIN_S: Final = 10.0

# JSON of this size takes about a millisecond to read (3.2 MB: 28 ms, see rest_decode.py).
_BESIDE_BYTES: Final = 64 * 1024


class HttpFront:
    """The routes of port 8501. Mutable: whether it is ready."""

    def __init__(
        self,
        *,
        predictor: Predictor,
        models: Models,
        rewards: RewardRoutes,
        metrics: Metrics,
        message_bytes: int,
    ) -> None:
        self._predictor = predictor
        self._models = models
        self._rewards = rewards
        self._metrics = metrics
        self._message_bytes = message_bytes
        self.is_ready = False

    def application(self) -> web.Application:
        """Build the application; TF Serving's routes take every method, for it answers the wrong ones itself."""
        app = web.Application(client_max_size=self._message_bytes, middlewares=[_bulkhead])
        self._rewards.add_to(app)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        # Capitals or not, as TF Serving has it; a `.` would leave out paths with a line break.
        app.router.add_route("*", r"/{version:[vV]1}{rest:(/[\s\S]*)?}", self._tf_serving)
        return app

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, request: web.Request) -> web.Response:
        return web.json_response({"ready": self.is_ready}, status=200 if self.is_ready else 503)

    async def _tf_serving(self, request: web.Request) -> web.Response:
        """Answer any of TF Serving's REST routes with its bodies, codes and errors."""
        started = time.perf_counter()
        headers: dict[str, str] = {}
        backend_s = 0.0
        try:
            timeout_s = _timeout_s(request)
            route = rest.parse_route(request.method, request.rel_url.raw_path)
            if route.kind == "predict":
                body, reply = await self._predict(request, route, asyncio.get_running_loop().time() + timeout_s)
                headers, backend_s = _headers(reply), reply.backend_s
            elif route.kind in ("status", "metadata"):
                body = await self._describe(route, timeout_s)
            else:
                raise Unimplemented(f":{route.kind} over REST is not supported yet")
        except ServingError as error:
            self._metrics.failed("rest", error)
            return _json(rest.error_body(error.message), error.code.http_status)
        except Exception:
            self._metrics.failed("rest", InternalError(""))
            raise
        self._metrics.answered("rest", time.perf_counter() - started, backend_s)
        return _json(body, 200, headers)

    async def _predict(self, request: web.Request, route: rest.Route, deadline: float) -> tuple[bytes, Reply]:
        body = await self._body(request)
        remaining_s = deadline - asyncio.get_running_loop().time()
        signatures = await self._models.signatures(route.model, route.version, route.label or "", remaining_s)
        message, is_row = await _beside(len(body), rest.decode_predict, body, signatures)
        spec = message.model_spec
        spec.name = route.model
        if route.version is not None:
            spec.version.value = route.version
        elif route.label:
            spec.version_label = route.label
        context = Context(
            deadline,
            _header(request, "turpin-unit"),
            _header(request, "turpin-request-id"),
            _header(request, "turpin-segment"),
        )
        reply = await self._predictor.predict(message.SerializeToString(), context)
        encode = functools.partial(rest.encode_predict, is_row=is_row)
        response = wire.parse(wire.PredictResponse, reply.body)
        return await _beside(len(reply.body), encode, response), reply

    async def _describe(self, route: rest.Route, timeout_s: float) -> bytes:
        if route.kind == "metadata":
            request = wire.GetModelMetadataRequest(metadata_field=["signature_def"])
        else:
            request = wire.GetModelStatusRequest()
        request.model_spec.name = route.model
        if route.version is not None:
            request.model_spec.version.value = route.version
        elif route.label:
            request.model_spec.version_label = route.label
        body = request.SerializeToString()
        if route.kind == "metadata":
            raw = await self._models.metadata(body, timeout_s)
            return rest.encode_metadata(wire.parse(wire.GetModelMetadataResponse, raw))
        return rest.encode_status(wire.parse(wire.GetModelStatusResponse, await self._models.status(body, timeout_s)))

    async def _body(self, request: web.Request) -> bytes:
        try:
            return await read_body(request, self._message_bytes)
        except BodyRefused as refusal:
            kind = MessageTooLarge if refusal.problem is Problem.TOO_LARGE else InvalidArgument
            raise kind(refusal.detail) from refusal


@web.middleware
async def _bulkhead(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        return http_problem(request, error)
    except Exception:  # Bulkhead: one call nobody foresaw must not end the service.
        log.exception("call failed", route=str(request.match_info.route.resource))
        return _json(rest.error_body("internal error of the gateway"), InternalError.code.http_status)


async def serve_http(app: web.Application, host: str, port: int, *, is_shared: bool) -> tuple[web.AppRunner, int]:
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
    site = web.TCPSite(runner, host, port, reuse_port=is_shared or None)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise OSError(f"can't listen on {host}:{port} (HTTP): {error.strerror or error}") from error
    return runner, int(runner.addresses[0][1])


async def _beside(size_bytes: int, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Do the arithmetic of a large body in a thread, so that it delays nobody else."""
    if size_bytes < _BESIDE_BYTES:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)


def _timeout_s(request: web.Request) -> float:
    text = request.headers.get("turpin-timeout-ms")
    return DEADLINE_DEFAULT_S if text is None else read_timeout(text)


def _header(request: web.Request, name: str) -> bytes:
    """Return a header's value as the bytes that were sent, whatever they are."""
    return request.headers.get(name, "").encode("utf-8", "surrogateescape")


def _headers(reply: Reply) -> dict[str, str]:
    if not reply.decision:
        return {}
    return {
        "turpin-decision": reply.decision,
        "turpin-arm": reply.arm,
        "turpin-experiment": reply.experiment,
    }


def _json(body: bytes, status: int, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)
