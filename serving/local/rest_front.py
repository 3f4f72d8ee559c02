"""The model server's REST front: TF Serving's JSON API over aiohttp."""

import asyncio
import logging
from typing import Final

from aiohttp import web

from serving import rest, rest_bodies, rest_cors, wire
from serving.errors import DeadlineExceeded, InternalError, InvalidArgument, ServingError
from serving.local import answers
from serving.local.models import Models
from serving.local.monitoring import Requests
from serving.local.workers import Workers

log: Final = logging.getLogger(__name__)

# TF Serving's --rest_api_timeout_in_ms; the reading of the body counts, so that no slow sender is kept for ever.
_TIMEOUT_S: Final = 30.0

# A body, packed or not. TF Serving has no limit; protobuf's own, which such a body would meet next, is 2 GiB.
_BODY_MAX_BYTES: Final = 1 << 30

# Of an idle connection, and of a request's headers: aiohttp has one timer for both, by default an hour.
_KEEPALIVE_S: Final = 30.0


class RestFront:
    """An HTTP server on one port; `start` binds it, `stop` ends it with the calls under way answered."""

    def __init__(
        self,
        models: Models,
        workers: Workers,
        requests: Requests,
        grace_s: float,
        *,
        is_cors: bool = False,
        metrics_path: str | None = None,
    ) -> None:
        """`grace_s`: what calls under way get at `stop`. `is_cors`: pages from elsewhere may call.

        `metrics_path`: where the page for Prometheus is; None: nowhere.
        """
        self._requests = requests
        self._metrics_path = metrics_path
        self._models = models
        self._headers = rest_cors.HEADERS if is_cors else {}
        self._workers = workers
        app = web.Application(client_max_size=_BODY_MAX_BYTES)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # Inflating is ours: aiohttp goes on inflating a refused body for seconds, on the event loop.
        self._runner = web.AppRunner(
            app,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=_KEEPALIVE_S,
            lingering_time=1,
            shutdown_timeout=grace_s,
        )

    async def start(self, host: str, port: int) -> int:
        """Bind and serve; return the port, the free one that was found when 0 was asked for. OSError when taken."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, reuse_port=False)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Take no new calls, and give those under way their grace."""
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        if request.path == self._metrics_path:
            return web.Response(body=self._requests.page(), content_type="text/plain")
        if not request.path.lower().startswith("/v1/"):
            return web.Response(status=404)
        try:
            if request.method == "OPTIONS":
                rest_cors.check_preflight(request.headers.get("Origin", ""))
                return self._response(b"")
            async with asyncio.timeout(_TIMEOUT_S):
                body = await request.read()
                is_gzip = rest_bodies.is_gzip(request.headers.get("Content-Encoding", ""))
                answer = await self._workers.run(self._answer, request.method, request.rel_url.raw_path, body, is_gzip)
            return self._response(answer)
        except ServingError as error:
            return self._error(error)
        except TimeoutError:
            return self._error(DeadlineExceeded(f"no answer within {_TIMEOUT_S:.0f} s"))
        except web.HTTPRequestEntityTooLarge:
            return self._error(InvalidArgument(f"the body has more than {_BODY_MAX_BYTES} bytes"))
        except Exception as error:  # Bulkhead: one call must not end the service, nor be answered with a traceback.
            log.exception("call failed: %s %s", request.method, request.path)
            return self._error(InternalError(f"{type(error).__name__}; the model server's log says more"))

    def _response(self, body: bytes, status: int = 200) -> web.Response:
        return web.Response(status=status, body=body, content_type="application/json", headers=self._headers)

    def _error(self, error: ServingError) -> web.Response:
        return self._response(rest.error_body(error.message), error.code.http_status)

    def _answer(self, method: str, path: str, body: bytes, is_gzip: bool) -> bytes:
        """Answer one request, in a worker thread."""
        route = rest.parse_route(method, path)
        if route.kind == "models":
            return rest.encode_models(answers.model_list(self._models))
        spec = wire.ModelSpec(name=route.model)
        if route.version is not None:
            spec.version.value = route.version
        elif route.label is not None:
            spec.version_label = route.label
        if route.kind == "status":
            return rest.encode_status(answers.model_status(self._models, wire.GetModelStatusRequest(model_spec=spec)))
        if route.kind == "metadata":
            request = wire.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
            return rest.encode_metadata(answers.model_metadata(self._models, request))
        body = rest_bodies.inflated(body, _BODY_MAX_BYTES) if is_gzip else body
        with self._requests.measured(route.model, route.kind.capitalize(), "REST"):
            if route.kind == "predict":
                return self._predict(spec, body)
            return self._examples(route.kind, spec, body)

    def _examples(self, kind: rest.Kind, spec: wire.Message, body: bytes) -> bytes:
        request = rest.decode_classify(body) if kind == "classify" else rest.decode_regress(body)
        request.model_spec.MergeFrom(spec)
        if kind == "classify":
            return rest.encode_classify(answers.classify(self._models, request))
        return rest.encode_regress(answers.regress(self._models, request))

    def _predict(self, spec: wire.Message, body: bytes) -> bytes:
        # Held over both steps: the signatures that the JSON is read by must be those of the version that runs.
        with self._models.use(spec) as (version, engine):
            request, is_row = rest.decode_predict(body, rest.input_types(engine.signatures))
            request.model_spec.name = spec.name
            request.model_spec.version.value = version
            response = engine.predict(request)
        return rest.encode_predict(response, is_row=is_row)
