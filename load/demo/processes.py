"""Child processes: started with their output in a log, awaited, and ended by their pid whatever happens."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

# A gateway waits up to 30 s for what is in flight; nothing is by then.
END_S = 15.0
# Between two looks whether a service is there: not worth a core, nor a person's patience.
LOOK_S = 0.1
# What of a log is shown when its process has failed.
_LINES_SHOWN = 15


class ChildFailed(Exception):
    """A child process ended, or did not become ready; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Child:
    """A process of ours, and where it writes."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    @property
    def pid(self) -> int:
        """Its process id, which is also that of its process group."""
        return self.process.pid

    def failure(self, what: str) -> ChildFailed:
        """Describe a failure with the end of the log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines() if self.log.exists() else []
        shown = "\n  ".join(lines[-_LINES_SHOWN:]) or "(nothing)"
        return ChildFailed(f"{self.name} (pid {self.pid}) {what}; the end of {self.log}:\n  {shown}")


def turpin(*arguments: str) -> list[str]:
    """Return the command line of a `turpin` command of this very installation."""
    script = Path(sys.executable).with_name("turpin")
    if script.exists():
        return [str(script), *arguments]
    return [sys.executable, "-c", "from router.cli import main; main()", *arguments]


async def start(name: str, command: Sequence[str], log: Path, *, reads_stdout: bool = False) -> Child:
    """Start `command` in a process group of its own; all it says goes to `log`, but stdout when we read it.

    In a group of its own Ctrl-C does not reach it: it is for us to end children, in order.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if reads_stdout else output,
            stderr=output,
            start_new_session=True,
            # TensorFlow's greetings would hide what matters in the logs.
            env={**os.environ, "PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "2"},
        )
    return Child(name, process, log)


async def until(child: Child, is_ready: Callable[[], Awaitable[bool]], limit_s: float) -> None:
    """Wait until `is_ready()`; raises ChildFailed when the process ends before, or after `limit_s`."""
    try:
        async with asyncio.timeout(limit_s):
            while not await is_ready():
                if child.process.returncode is not None:
                    raise child.failure(f"ended with {child.process.returncode} before it was ready")
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise child.failure(f"was not ready after {limit_s:.0f} s") from None


async def end(child: Child) -> int:
    """End a child: SIGTERM, after END_S SIGKILL; then what it may have left behind. Returns its exit status."""
    process = child.process
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(END_S):
                await process.wait()
        except TimeoutError:
            process.kill()
    status = await process.wait()
    clear(child)
    return status


def clear(child: Child) -> None:
    """End what a child that is gone has left behind: its group is ours, as we started it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
