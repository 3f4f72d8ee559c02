"""What machines ask of the admin port: a scrape of all processes, whether the gateway lives and serves, its version."""

import asyncio
import contextlib
from collections.abc import Callable

import msgspec
from aiohttp import web

from router.admin.answers import answer
from router.admin.application import Handlers, application
from router.admin.gate import Caller, Gate
from router.admin.reading import state_of
from router.admin.routes import Role, Route
from router.aggregate import CONTROL, Aggregate, render
from router.metrics import Metrics, snapshot
from router.store import Store, StoreError
from router.version import installed_version


class Health:
    """The routes that need no experiment."""

    def __init__(
        self,
        *,
        store: Store,
        aggregate: Aggregate,
        metrics: Metrics,
        is_ready: Callable[[], bool],
        unix_now: Callable[[], float],
        token_file: str = "",
    ) -> None:
        """`metrics` are this process's own, `aggregate` adds up all; `token_file` is where the made token lies."""
        self._store = store
        self._aggregate = aggregate
        self._metrics = metrics
        self._is_ready = is_ready
        self._unix_now = unix_now
        self._token_file = token_file
        self._rendering = asyncio.Lock()

    def handlers(self) -> Handlers:
        """Return the handlers by the names of their routes."""
        return {
            "metrics": self._scrape,
            "healthz": self._healthz,
            "readyz": self._readyz,
            "version": self._version,
            "whoami": self._whoami,
        }

    def metrics_application(self, gate: Gate) -> web.Application:
        """Build the application of `listen.metrics`: a scrape for everybody, and nothing else."""
        return application(gate, self.handlers(), routes=[Route("GET", "/metrics", Role.ANYBODY, "metrics", "")])

    async def _scrape(self, request: web.Request, caller: Caller) -> web.Response:
        """Render the metrics of all processes, with the experiments as the store has them, if it answers."""
        with contextlib.suppress(StoreError):
            for name in await self._store.snapshots():
                # What a later version's leader published is no reason to hide all else.
                with contextlib.suppress(msgspec.MsgspecError):
                    self._metrics.show_state(await state_of(self._store, name, self._unix_now()))
        # One after the other: of two snapshots the newer one has to come last, or its counters would seem to have gone back.
        async with self._rendering:
            body, content_type = await asyncio.to_thread(self._rendered, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    def _rendered(self, accept: str) -> tuple[bytes, str]:
        """Return a scrape and its content type; a snapshot of 50 arms alone would hold the loop for 2.5 ms."""
        self._aggregate.update(CONTROL, snapshot(self._metrics.registry))
        return render(self._aggregate, accept)

    async def _healthz(self, request: web.Request, caller: Caller) -> web.Response:
        return answer({"status": "ok"})

    async def _readyz(self, request: web.Request, caller: Caller) -> web.Response:
        is_ready = self._is_ready()
        return answer({"ready": is_ready}, status=200 if is_ready else 503)

    async def _version(self, request: web.Request, caller: Caller) -> web.Response:
        """Tell the version, and whom it concerns where the made token lies: only its owner can read that file."""
        where = {"token_file": self._token_file} if self._token_file else {}
        return answer({"version": installed_version(), **where})

    async def _whoami(self, request: web.Request, caller: Caller) -> web.Response:
        """Tell the name of the caller's token, empty without one, and its role."""
        return answer({"name": caller.name, "role": caller.role.name.lower()})
