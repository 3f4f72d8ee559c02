"""The admin port: what experiments are doing and why, metrics of all workers, and health. Reading only, for now.

It reads what the leader published, so any gateway on the store can answer.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import msgspec
import structlog
from aiohttp import web

from router.aggregate import Aggregate, render
from router.control.dossier import dossier_of
from router.fronts.bodies import http_problem, problem
from router.metrics import Metrics, snapshot
from router.problems import Problem
from router.snapshot import decode
from router.store import Store, StoreError

log = structlog.get_logger(__name__)

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

# A page of history; the store keeps the rest.
_HISTORY_MAX: Final = 1_000


class Admin:
    """The routes of port 8502."""

    def __init__(
        self,
        *,
        store: Store,
        aggregate: Aggregate,
        metrics: Metrics,
        is_ready: Callable[[], bool],
        unix_now: Callable[[], float],
    ) -> None:
        """`metrics` are this process's own; `aggregate` adds up all processes."""
        self._store = store
        self._aggregate = aggregate
        self._metrics = metrics
        self._is_ready = is_ready
        self._unix_now = unix_now

    def application(self) -> web.Application:
        """Build the application."""
        app = web.Application(middlewares=[_refusals])
        app.router.add_get("/admin/v1/experiments", self._experiments)
        app.router.add_get("/admin/v1/experiments/{name}", self._experiment)
        app.router.add_get("/admin/v1/experiments/{name}/state", self._state)
        app.router.add_get("/admin/v1/experiments/{name}/history", self._history)
        app.router.add_get("/metrics", self._scrape)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        return app

    def metrics_application(self) -> web.Application:
        """Build the application of `listen.metrics`: a scrape and nothing else."""
        app = web.Application(middlewares=[_refusals])
        app.router.add_get("/metrics", self._scrape)
        return app

    async def _experiments(self, request: web.Request) -> web.Response:
        states = [await self._state_of(name) for name in sorted(await self._store.snapshots())]
        keys = ("name", "model", "phase", "control", "leader", "winner", "outcome")
        return _json({"experiments": [{key: state[key] for key in keys} for state in states if state]})

    async def _experiment(self, request: web.Request) -> web.Response:
        for record in await self._store.experiments():
            if record.name == request.match_info["name"]:
                dossier = dossier_of(record.name, record.revision, record.document)
                body = {
                    "spec": dossier.document.spec,
                    "revision": record.revision,
                    "epoch": f"{dossier.document.epoch:016x}",
                    "life": dossier.document.life,
                }
                return _json(body, headers={"ETag": f'"{record.revision}"'})
        return _unknown(request)

    async def _state(self, request: web.Request) -> web.Response:
        state = await self._state_of(request.match_info["name"])
        return _json(state) if state else _unknown(request)

    async def _state_of(self, name: str) -> dict[str, Any]:
        """Return the view of the newest snapshot with its version and age; empty when there is none."""
        found = (await self._store.snapshots()).get(name)
        if found is None:
            return {}
        published = decode(found[1])
        view: dict[str, Any] = msgspec.json.decode(published.view)
        return view | {
            "snapshot_version": published.version,
            "snapshot_age_s": max(0.0, self._unix_now() - published.published_at),
        }

    async def _history(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        entries = await self._store.history(name, _HISTORY_MAX)
        if not entries and all(record.name != name for record in await self._store.experiments()):
            return _unknown(request)
        return _json({"history": [msgspec.Raw(entry) for entry in entries]})

    async def _scrape(self, request: web.Request) -> web.Response:
        """Render the metrics of all processes, with the experiments as the store has them, if it answers."""
        with contextlib.suppress(StoreError):
            for name in await self._store.snapshots():
                # What a later version's leader published is no reason to hide all else.
                with contextlib.suppress(msgspec.MsgspecError):
                    self._metrics.show_state(await self._state_of(name))
        self._aggregate.update("control", snapshot(self._metrics.registry))
        body, content_type = await asyncio.to_thread(render, self._aggregate, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _healthz(self, request: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def _readyz(self, request: web.Request) -> web.Response:
        is_ready = self._is_ready()
        return _json({"ready": is_ready}, status=200 if is_ready else 503)


@web.middleware
async def _refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what went wrong into problem+json."""
    try:
        return await handler(request)
    except StoreError as error:
        return problem(Problem.STORE_AWAY, str(error))
    except web.HTTPException as error:
        return http_problem(request, error)
    except Exception:  # Bulkhead: one call nobody foresaw must not end the control process.
        log.exception("admin call failed", path=request.path)
        return problem(Problem.FAULT, "an unforeseen fault; the log says more")


def _json(value: object, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json", headers=headers
    )


def _unknown(request: web.Request) -> web.Response:
    return problem(Problem.NOT_FOUND, f"there is no experiment {request.match_info['name']!r}")
