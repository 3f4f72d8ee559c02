"""A redis-server of our own, as a process that is killed, stopped, emptied and put back to an earlier state."""

import asyncio
import contextlib
import shutil
import signal
from pathlib import Path
from typing import Final

from load.demo import processes
from load.demo.processes import Child
from load.ports import free_ports

_READY_S: Final = 20.0
_ANSWER_S: Final = 5.0
# As a store is to be set up that keeps what it acknowledged.
AOF: Final = ("--save", "", "--appendonly", "yes", "--appendfsync", "everysec")


class NoRedis(Exception):
    """There is no redis-server on this machine."""


class RedisProcess:
    """Mutable: the process."""

    def __init__(
        self, folder: Path, *, settings: tuple[str, ...] = AOF, host: str = "127.0.0.1", prefix: tuple[str, ...] = ()
    ) -> None:
        """`folder` holds its log of writes and what it says; `prefix` begins its command; raises NoRedis."""
        self.folder, self.host = folder, host
        (self.port,) = free_ports(1)
        self._settings, self._prefix = settings, prefix
        self._program = shutil.which("redis-server") or ""
        if not self._program:
            raise NoRedis("redis-server is not installed (Debian: apt-get install redis-server)")
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """The address as a store."""
        return f"redis://{self.host}:{self.port}"

    @property
    def child(self) -> Child:
        """The process."""
        if self._child is None:
            raise ValueError("the Redis was not started")
        return self._child

    async def start(self) -> None:
        """Start it and wait until it answers."""
        await asyncio.to_thread(self.folder.mkdir, parents=True, exist_ok=True)
        command = [
            *self._prefix,
            self._program,
            "--port",
            str(self.port),
            "--dir",
            str(self.folder),
            "--bind",
            self.host,
        ]
        # Without a password it would listen to its own machine alone.
        command += [*self._settings, "--protected-mode", "no"]
        self._child = await processes.start("the Redis", command, self.folder / "redis.log")
        await processes.until(self._child, self._answers, _READY_S)

    async def _answers(self) -> bool:
        with contextlib.suppress(OSError, TimeoutError):
            return (await self.tell("PING")) == "PONG"
        return False

    async def tell(self, *words: str) -> str:
        """Send a command on a connection of its own, and return the first line of the answer."""
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_connection(self.host, self.port)
            try:
                parts = [f"*{len(words)}\r\n", *(f"${len(word.encode())}\r\n{word}\r\n" for word in words)]
                writer.write("".join(parts).encode())
                return (await reader.readline()).decode().strip().lstrip("+:")
            finally:
                writer.close()

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        self.child.process.send_signal(number)

    async def kill(self) -> None:
        """Kill it, as a machine that dies would."""
        self.child.process.kill()
        await self.child.process.wait()

    async def end(self) -> None:
        """End it in order, whatever state it is in."""
        if self._child is not None:
            if self._child.process.returncode is None:
                self._child.process.send_signal(signal.SIGCONT)
            await processes.end(self._child)

    def keep_aside(self, to: Path) -> None:
        """Copy its files; it must not run."""
        shutil.copytree(self.folder, to)

    def put_back(self, kept: Path | None) -> None:
        """Replace its files by those kept, or by none; it must not run."""
        shutil.rmtree(self.folder)
        if kept is None:
            self.folder.mkdir()
        else:
            shutil.copytree(kept, self.folder)
