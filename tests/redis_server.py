"""Real Redis servers for tests: each on a free port of loopback, in a folder of its own, ended by its process id.

Where there is no redis-server the tests that want one are skipped, loudly, unless TEST_REDIS=required.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

PATIENCE_S: Final = 20.0
# As a store that keeps what it acknowledged is to be set up.
AOF: Final = ("--save", "", "--appendonly", "yes", "--appendfsync", "everysec")
_POLL_S: Final = 0.01


def redis_command(name: str = "redis-server") -> str:
    """Return the path of a program of Redis; skips the test without one, or fails it where it is required."""
    found = shutil.which(name)
    if found is None:
        reason = f"{name} is not installed (Debian: apt-get install redis-server): the Redis store is not tested"
        if os.environ.get("TEST_REDIS") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def free_port() -> int:
    """Return a port that nobody listens on, and of which the cluster's bus port, 10,000 above, exists."""
    while True:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = int(sock.getsockname()[1])
        if port < 55_000:
            return port


@dataclass(slots=True)
class RedisServer:
    """One redis-server, or Sentinel. Mutable: the process, which may be started again."""

    folder: Path
    port: int = field(default_factory=free_port)
    arguments: tuple[str, ...] = ("--save", "", "--appendonly", "no")
    program: str = "redis-server"
    config: Path | None = None
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """The address as a store, with time for a busy machine."""
        return f"redis://127.0.0.1:{self.port}?timeout_ms=5000"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [redis_command(self.program)]
        if self.program == "redis-sentinel":
            command.append(str(self.folder / "sentinel.conf"))
        if self.config is not None:
            command.append(str(self.config))
        command += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), *self.arguments]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        give_up_at = time.monotonic() + PATIENCE_S
        while not self._ping().startswith(("PONG", "-NOAUTH")):
            assert self.process.poll() is None, (self.folder / "redis.log").read_text()
            assert time.monotonic() < give_up_at, "redis-server does not answer"
            time.sleep(_POLL_S)

    def _ping(self) -> str:
        with contextlib.suppress(OSError):
            return self.tell("PING")
        return ""

    def tell(self, *words: str) -> str:
        """Send a command on a connection of its own and return the answer's first line, as far as it is text."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as sock:
            parts = [f"*{len(words)}\r\n", *(f"${len(word.encode())}\r\n{word}\r\n" for word in words)]
            sock.sendall("".join(parts).encode())
            with sock.makefile("rb") as answer:
                line = answer.readline().decode().strip()
                if line.startswith("$") and line != "$-1":
                    return answer.read(int(line[1:])).decode(errors="replace")
        return line.lstrip("+:")

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        assert self.process is not None
        self.process.send_signal(number)

    def end(self) -> None:
        """Kill it, as a machine that dies would."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(PATIENCE_S)


@contextlib.contextmanager
def redis_server(folder: Path, *arguments: str) -> Iterator[RedisServer]:
    """Run a server; without arguments one that writes nothing to the disk."""
    server = RedisServer(folder) if not arguments else RedisServer(folder, arguments=arguments)
    server.start()
    try:
        yield server
    finally:
        server.end()
