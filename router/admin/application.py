"""Builds the admin port from the table of routes: each request passes the gate, then its handler, and no error escapes."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, TypeAlias

import structlog
from aiohttp import web

from router.admin.answers import Refused
from router.admin.gate import Caller, Gate
from router.admin.routes import ROUTES, Route, pattern
from router.fronts.bodies import BodyRefused, http_problem
from router.problems import Problem
from router.store import StoreError

log = structlog.get_logger(__name__)

Handler: TypeAlias = Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]
Handlers: TypeAlias = Mapping[str, Handler]

# What is shown changes every second, and may be nobody else's business.
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def application(gate: Gate, *parts: Handlers, routes: Iterable[Route] = ROUTES) -> web.Application:
    """Return the application; `parts` bring the handlers of all routes, by name. KeyError for a route without one."""
    handlers = {name: handler for part in parts for name, handler in part.items()}
    app = web.Application(middlewares=[_refusals])
    for route in routes:
        app.router.add_route(route.method, pattern(route.path), _guarded(gate, route, handlers[route.name]))
        if route.method == "GET":
            app.router.add_route("HEAD", pattern(route.path), _guarded(gate, route, handlers[route.name]))
    return app


def _guarded(gate: Gate, route: Route, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request, gate.admit(request, route))

    return handle


@web.middleware
async def _refusals(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn what went wrong into problem+json."""
    response: web.StreamResponse
    try:
        response = await handler(request)
    except Refused as refused:
        response = refused.response()
    except BodyRefused as error:
        response = Refused(error.problem, error.detail).response()
    except StoreError as error:
        response = Refused(Problem.STORE_AWAY, str(error)).response()
    except web.HTTPException as error:
        response = http_problem(request, error)
    except Exception:  # Bulkhead: one call nobody foresaw must not end the control process.
        log.exception("admin call failed", path=request.path)
        response = Refused(Problem.FAULT, "an unforeseen fault; the log says more").response()
    if not response.prepared:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
    return response
