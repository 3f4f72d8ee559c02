"""Calls from pages of any origin, when the configuration allows them: TF Serving's headers, and ours for the token."""

from typing import Final

from aiohttp import web

from router.fronts.bodies import Handler
from serving import rest_cors

# What a page may send beside TF Serving's Content-Type, and what it may read of an answer.
_SENT: Final = "authorization, turpin-unit, turpin-segment, turpin-request-id, turpin-timeout-ms"
_READ: Final = "turpin-decision, turpin-arm, turpin-experiment, retry-after"
_HEADERS: Final = {
    **rest_cors.HEADERS,
    "Access-Control-Allow-Headers": f"{rest_cors.HEADERS['Access-Control-Allow-Headers']}, {_SENT}",
    "Access-Control-Expose-Headers": _READ,
}


def allow_any_origin(handler: Handler) -> Handler:
    """Add the headers to every answer; a preflight for what is ours is answered here, as TF Serving's routes answer theirs."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if (
            request.method == "OPTIONS"
            and request.path.startswith(("/v1/rewards", "/v1/decide"))
            and request.headers.get("Origin")
        ):
            response: web.StreamResponse = web.Response()
        else:
            response = await handler(request)
        response.headers.update(_HEADERS)
        return response

    return answer
