"""TF Serving's REST routes: JSON in, one call of the predictor or of the models, JSON out, with TF Serving's errors."""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from router.fronts.bodies import RETRY_AFTER_S, BodyRefused, read_body
from router.metrics import Metrics
from router.models import Models
from router.predict import DEADLINE_DEFAULT_S, Context, Predictor, Reply, read_timeout
from router.problems import Problem
from serving import methods, rest, rest_bodies, rest_cors, wire
from serving.errors import InternalError, InvalidArgument, MessageTooLarge, ServingError

# JSON of this size takes about a millisecond to read (3.2 MB: 28 ms, see rest_decode.py): it is read, and written, in a
# thread, so that it delays nobody else.
_BESIDE_BYTES: Final = 64 * 1024


class RestRoutes:
    """Everything below /v1/ that is TF Serving's."""

    def __init__(self, *, predictor: Predictor, models: Models, metrics: Metrics, message_bytes: int) -> None:
        self._predictor = predictor
        self._models = models
        self._metrics = metrics
        self._message_bytes = message_bytes

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer any of TF Serving's routes with its bodies, codes and errors."""
        started = time.perf_counter()
        try:
            body, reply = await self._answer(request)
        except ServingError as error:
            self._metrics.failed("rest", error)
            retry = {"Retry-After": RETRY_AFTER_S} if error.code.http_status in (429, 503) else None
            return json_response(rest.error_body(error.message), error.code.http_status, retry)
        except Exception:
            self._metrics.failed("rest", InternalError(""))
            raise
        self._metrics.answered("rest", time.perf_counter() - started, reply.backend_s if reply else 0.0)
        return json_response(body, 200, _headers(reply))

    async def _answer(self, request: web.BaseRequest) -> tuple[bytes, Reply | None]:
        timeout_s = _timeout_s(request)
        if request.method == "OPTIONS":
            rest_cors.check_preflight(request.headers.get("Origin", ""))
            return b"", None
        route = rest.parse_route(request.method, request.rel_url.raw_path)
        if route.kind == "models":
            return rest.encode_models(await self._models.listed(timeout_s)), None
        if route.kind in ("status", "metadata"):
            return await self._describe(route, timeout_s), None
        context = context_of(request, timeout_s)
        body = await self._body(request)
        if route.kind == "predict":
            return await self._predict(body, route, context)
        return await self._examples(body, route, context)

    async def _predict(self, body: bytes, route: rest.Route, context: Context) -> tuple[bytes, Reply]:
        remaining_s = context.deadline - asyncio.get_running_loop().time()
        signatures = await self._models.signatures(route.model, route.version, route.label or "", remaining_s)
        decode, is_small = rest.decode_predict, len(body) < _BESIDE_BYTES
        message, is_row = decode(body, signatures) if is_small else await asyncio.to_thread(decode, body, signatures)
        _address(message.model_spec, route)
        reply = await self._predictor.answer(message, context)
        encode, response = rest.encode_predict, reply.response
        if reply.size_bytes < _BESIDE_BYTES:
            return encode(response, is_row=is_row), reply
        return await asyncio.to_thread(encode, response, is_row=is_row), reply

    async def _examples(self, body: bytes, route: rest.Route, context: Context) -> tuple[bytes, Reply]:
        is_classify = route.kind == "classify"
        decode, encode, method = (
            (rest.decode_classify, rest.encode_classify, methods.CLASSIFY)
            if is_classify
            else (rest.decode_regress, rest.encode_regress, methods.REGRESS)
        )
        message = decode(body) if len(body) < _BESIDE_BYTES else await asyncio.to_thread(decode, body)
        _address(message.model_spec, route)
        reply = await self._predictor.answer(message, context, method)
        is_small = reply.size_bytes < _BESIDE_BYTES
        return encode(reply.response) if is_small else await asyncio.to_thread(encode, reply.response), reply

    async def _describe(self, route: rest.Route, timeout_s: float) -> bytes:
        if route.kind == "metadata":
            request = wire.GetModelMetadataRequest(metadata_field=["signature_def"])
            _address(request.model_spec, route)
            raw = await self._models.metadata(request.SerializeToString(), timeout_s)
            return rest.encode_metadata(wire.parse(wire.GetModelMetadataResponse, raw))
        request = wire.GetModelStatusRequest()
        _address(request.model_spec, route)
        raw = await self._models.status(request.SerializeToString(), timeout_s)
        return rest.encode_status(wire.parse(wire.GetModelStatusResponse, raw))

    async def _body(self, request: web.BaseRequest) -> bytes:
        is_gzip = rest_bodies.is_gzip(request.headers.get("Content-Encoding", ""))
        try:
            body = await read_body(request, self._message_bytes, takes_gzip=is_gzip)
        except BodyRefused as refusal:
            kind = MessageTooLarge if refusal.problem is Problem.TOO_LARGE else InvalidArgument
            gzip = ", or in gzip" if refusal.problem is Problem.ENCODED else ""
            raise kind(f"{refusal.detail}{gzip}") from refusal
        if not is_gzip:
            return body
        # In a thread whatever its size: a small body may hold a large one.
        return await asyncio.to_thread(rest_bodies.inflated, body, self._message_bytes)


def context_of(request: web.BaseRequest, timeout_s: float) -> Context:
    """Return what a request's headers say beside its body."""
    headers = request.headers
    return Context(
        asyncio.get_running_loop().time() + timeout_s,
        _sent(headers.get("turpin-unit")),
        _sent(headers.get("turpin-request-id")),
        _sent(headers.get("turpin-segment")),
        # Its connection.
        request.protocol,
    )


def json_response(body: bytes, status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a JSON answer."""
    return web.Response(body=body, status=status, headers={"Content-Type": "application/json", **(headers or {})})


def _address(spec: wire.Message, route: rest.Route) -> None:
    """Write what a URL names into a ModelSpec."""
    spec.name = route.model
    if route.version is not None:
        spec.version.value = route.version
    elif route.label:
        spec.version_label = route.label


def _timeout_s(request: web.BaseRequest) -> float:
    text = request.headers.get("turpin-timeout-ms")
    return DEADLINE_DEFAULT_S if text is None else read_timeout(text)


def _sent(text: str | None) -> bytes:
    """Return a header's value as the bytes that were sent, whatever they are."""
    return b"" if text is None else text.encode("utf-8", "surrogateescape")


def _headers(reply: Reply | None) -> dict[str, str]:
    if reply is None or not reply.decision:
        return {}
    return {
        "turpin-decision": reply.decision,
        "turpin-arm": reply.arm,
        "turpin-experiment": reply.experiment,
    }
