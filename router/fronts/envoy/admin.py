"""Envoy's admin socket: whether it listens, how many requests it has, and that it should take leave of its clients."""

import asyncio
import re
from pathlib import Path
from typing import Final

from router.fronts.envoy.bootstrap import STATS

# An answer over a local socket takes a millisecond; Envoy answers in its main thread, which has little else to do.
_CALL_S: Final = 5.0
# Reading the configuration and listening takes some tens of milliseconds.
_LIVE_S: Final = 10.0
_LOOK_S: Final = 0.01
_ACTIVE: Final = f"http.{STATS}.downstream_rq_active"


class Admin:
    """The socket, one connection a question."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def wait_until_live(self) -> None:
        """Return when Envoy listens; OSError when it does not in time."""
        try:
            async with asyncio.timeout(_LIVE_S):
                while not (await self._ask("GET", "/ready")).startswith(b"HTTP/1.1 200"):  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError as error:
            raise OSError(f"Envoy does not listen after {_LIVE_S:g} s") from error

    async def drain(self) -> None:
        """Have Envoy send its clients away, and go on with what is under way."""
        await self._ask("POST", "/drain_listeners?graceful&skip_exit")

    async def active(self) -> int:
        """Return how many requests Envoy has."""
        found = re.search(rb"downstream_rq_active: (\d+)", await self._ask("GET", f"/stats?filter=^{_ACTIVE}$"))
        return int(found[1]) if found else 0

    async def _ask(self, method: str, path: str) -> bytes:
        async with asyncio.timeout(_CALL_S):
            reader, writer = await asyncio.open_unix_connection(self._socket)
            try:
                writer.write(f"{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n".encode())
                await writer.drain()
                return await reader.read()
            finally:
                writer.close()
