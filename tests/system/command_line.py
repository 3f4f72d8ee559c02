"""The command `turpin` as a process of its own, as a shell would run it, and on a terminal of its own."""

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.system.gateway import COMMAND, PATIENCE_S, until

_ROWS, _COLUMNS = 50, 120
# A command starts within a second; some wait for a gateway that starts, on a machine that is busy with others.
_RUN_S = 2 * PATIENCE_S
# What moves the cursor, sets colours and titles.
_CONTROLS = re.compile(rb"\x1b[\[\]?][0-9;?]*[A-Za-z]")


def environ(**ours: str) -> dict[str, str]:
    """Return the tester's environment with these TURPIN_ settings and no others."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TURPIN_")}
    return inherited | {f"TURPIN_{name.upper()}": value for name, value in ours.items()}


async def run(*words: str, stdin: str = "", **ours: str) -> "subprocess.CompletedProcess[str]":
    """Run a command without a terminal to its end; `ours` are settings of its environment."""

    def once() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [COMMAND, *words], env=environ(**ours), input=stdin, capture_output=True, text=True, timeout=_RUN_S
        )

    return await asyncio.to_thread(once)


def started(*words: str, stdout: int, **ours: str) -> "subprocess.Popen[bytes]":
    """Start a command whose output goes to a file; the caller ends it."""
    return subprocess.Popen([COMMAND, *words], env=environ(**ours), stdout=stdout, stderr=stdout)


@dataclass(slots=True)
class Terminal:
    """A command on a terminal of its own. Mutable: what it has written so far."""

    process: "subprocess.Popen[bytes]"
    written: bytearray = field(default_factory=bytearray)

    def text(self, since: int = 0) -> str:
        """Return what it has written since so many bytes, without what controls the terminal."""
        return _CONTROLS.sub(b"", bytes(self.written[since:])).decode(errors="replace")

    async def says(self, words: str, since: int = 0) -> None:
        """Wait until it says these words."""
        try:
            await until(words, lambda: words in self.text(since))
        except AssertionError:
            raise AssertionError(f"{words!r} is not in:\n{self.text(since)[-3000:]}") from None

    async def ended(self, number: int) -> int:
        """Send it a signal, and return the exit code it ends with."""
        self.process.send_signal(number)
        await until("its end", lambda: self.process.poll() is not None)
        return int(self.process.returncode)


@contextlib.contextmanager
def on_terminal(*words: str, **ours: str) -> Iterator[Terminal]:
    """Run a command on a terminal; afterwards it is ended."""
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
    inherited = {name: value for name, value in environ(**ours).items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [COMMAND, *words], stdin=there, stdout=there, stderr=there, env=inherited | {"TERM": "xterm"}
    )
    os.close(there)
    terminal = Terminal(process)
    loop = asyncio.get_running_loop()

    def read() -> None:
        # A terminal nobody writes to any more is an error to Linux.
        with contextlib.suppress(OSError):
            terminal.written.extend(os.read(here, 1 << 16))
            return
        loop.remove_reader(here)

    loop.add_reader(here, read)
    try:
        yield terminal
    finally:
        loop.remove_reader(here)
        if process.poll() is None:
            process.kill()
        process.wait(PATIENCE_S)
        os.close(here)
