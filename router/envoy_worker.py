"""A worker whose process is Envoy's: the same data plane as router.worker, as an application in Envoy's Python.

Envoy starts listening when the application says that it has started, and asks it for each call.
"""

import asyncio
import contextlib
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from router.fronts.envoy.admin import Admin
from router.fronts.envoy.bootstrap import ADMIN_SOCKET, RENEWED, Settings
from router.fronts.envoy.calls import Event, Receive, Send
from router.fronts.envoy.renewal import follow
from router.fronts.envoy.server import EnvoyServer
from router.fronts.envoy.start import FOLDER, LINK, SETTINGS, START
from router.link import Link
from router.logs import configure_logs
from router.worker import work
from serving.grpc_server import Handler
from serving.tls import CertificateFiles


class EnvoyWorker:
    """The application. Mutable: its server, once there is one."""

    def __init__(self) -> None:
        """Take over what `fronts.envoy.start` left in the environment, and stand where the gateway was started."""
        self._folder = Path(os.environ.pop(FOLDER))
        self._link = int(os.environ.pop(LINK))
        os.chdir(os.environ.pop(START))
        # pyvoy puts it before all others; `python -P` is how we are started.
        with contextlib.suppress(ValueError):
            sys.path.remove(".")
        self._settings = msgspec.json.decode(os.environ.pop(SETTINGS), type=Settings)
        self._server: EnvoyServer | None = None

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        """Live from Envoy's start to its end, and answer calls in between: ASGI."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            assert self._server is not None  # noqa: S101 Envoy listens after it is made
            await self._server(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Work until told to stop, then end the process: nothing of ours is left, and of Envoy's only its sockets."""
        await receive()
        configure_logs()
        sock = socket.socket(fileno=self._link)
        sock.setblocking(False)
        beside: list[asyncio.Task[None]] = []

        async def open_port() -> None:
            await send({"type": "lifespan.startup.complete"})

        async with asyncio.TaskGroup() as tasks:

            def make_server(
                routes: Mapping[str, Handler], *, message_bytes: int, is_port_shared: bool, connection_age_s: float
            ) -> EnvoyServer:
                self._server = EnvoyServer(
                    routes, message_bytes=message_bytes, admin=Admin(self._folder / ADMIN_SOCKET), open_port=open_port
                )
                beside.append(tasks.create_task(self._server.look(), name="look at the calls"))
                return self._server

            if (tls := self._settings.tls) is not None:
                files = CertificateFiles(tls.cert, tls.key, tls.client_ca)
                beside.append(tasks.create_task(follow(files, self._folder / RENEWED), name="renew certificates"))
            code = await work(await Link.over(sock), make_server)
            for task in beside:
                task.cancel()
        shutil.rmtree(self._folder, ignore_errors=True)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


application: Any = EnvoyWorker() if LINK in os.environ else None
