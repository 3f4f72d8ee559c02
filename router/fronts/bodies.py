"""Bodies of HTTP requests, read within bounds, and the problem documents that refuse them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias, TypeVar

from aiohttp import web

from router.problems import CONTENT_TYPE, Problem

# A body that has not arrived by then is a slow client or an attack; 64 MiB at 50 Mbit/s take 11 s.
BODY_S: Final = 15.0

Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
_Body = TypeVar("_Body", bytes, bytearray)
# Whoever is refused for want of room or of a store is asked to come again this much later.
RETRY_AFTER_S: Final = "1"


class BodyRefused(Exception):
    """A body that is not taken, and which problem that is."""

    def __init__(self, kind: Problem, detail: str) -> None:
        super().__init__(detail)
        self.problem, self.detail = kind, detail


async def read_body(
    request: web.BaseRequest, bytes_max: int, limit: str = "limits.message_bytes", *, takes_gzip: bool = False
) -> bytes:
    """Read a body within its bounds in size and time; BodyRefused for one beyond them, or compressed.

    One in gzip is returned as it came when the caller takes it.
    `limit` is what the bound is called where it is refused.
    """
    if not takes_gzip and request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise BodyRefused(Problem.ENCODED, "a compressed body is not accepted: send it without Content-Encoding")
    if request.content.is_eof():
        # It came with the head, as most do: there is nothing to wait for.
        return _bounded(request.content.read_nowait(), bytes_max, limit)
    try:
        async with asyncio.timeout(BODY_S):
            body = bytearray()
            async for chunk in request.content.iter_any():
                body += chunk
                _bounded(body, bytes_max, limit)
            return bytes(body)
    except TimeoutError as error:
        raise BodyRefused(Problem.TIMEOUT, f"the body did not arrive within {BODY_S:g} s") from error


def _bounded(body: _Body, bytes_max: int, limit: str) -> _Body:
    """Return what is within the bound; BodyRefused."""
    if len(body) > bytes_max:
        raise BodyRefused(Problem.TOO_LARGE, f"the body is larger than {limit} = {bytes_max}")
    return body


def problem(kind: Problem, detail: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return the refusal as problem+json, with a time to come again where that helps."""
    retry = {"Retry-After": RETRY_AFTER_S} if kind.status in (429, 503) else {}
    return web.Response(
        body=kind.body(detail), status=kind.status, content_type=CONTENT_TYPE, headers={**retry, **(headers or {})}
    )


def http_problem(request: web.BaseRequest, error: web.HTTPException) -> web.Response:
    """Return what aiohttp refused by itself, an unknown path or a wrong method, in our form."""
    kind = Problem.METHOD if error.status == 405 else Problem.NOT_FOUND
    if "Allow" in error.headers:
        allowed = error.headers["Allow"]
        return problem(kind, f"{request.method} {request.path}: {allowed} is taken here", {"Allow": allowed})
    return problem(kind, f"{request.method} {request.path} is not offered on this port")


def only(method: str, handler: Handler) -> Handler:
    """Let a handler answer one method, and HEAD where that is GET; others are refused before anybody else takes them."""
    allowed = ("GET", "HEAD") if method == "GET" else (method,)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.method not in allowed:
            raise web.HTTPMethodNotAllowed(request.method, allowed)
        return await handler(request)

    return answer
