"""A peer's processes: started on the gateway's core, and ended with all that they started."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

from load.bench import processes
from load.bench.measure import GATEWAY

# Ray takes eight seconds to end by itself on a busy machine.
_END_S: Final = 15.0
# What is left of a tree whose root has ended.
_LEFT_S: Final = 2.0
_POLL_S: Final = 0.1
_ROOT: Final = Path(__file__).parents[3]


@contextlib.asynccontextmanager
async def program(
    command: list[str], settings: Mapping[str, str], log: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program with more variables in its environment, its words into a file; end its whole tree at the end."""
    # Its modules lie in this project; where the bench itself takes packages from is none of its business.
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "PYTHONUNBUFFERED": "1", **settings}
    environment.pop("VIRTUAL_ENV", None)
    with log.open("ab") as words:
        child = await asyncio.create_subprocess_exec(
            *("taskset", "--cpu-list", ",".join(map(str, sorted(GATEWAY)))),
            *command,
            stdout=words,
            stderr=words,
            cwd=log.parent,
            env=environment,
            # A signal for its group is not for ours.
            start_new_session=True,
        )
    try:
        yield child
    finally:
        await end(child)


async def end(child: asyncio.subprocess.Process) -> None:
    """End a process and all below it, politely first; RuntimeError if the kernel can't."""
    below = _born(child.pid)
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_END_S):
            await child.wait()
    if child.returncode is None:
        # What it has started since.
        below |= _born(child.pid)
    else:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEFT_S):
                await _gone(below)
    for pid in _alive(below):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    try:
        async with asyncio.timeout(_END_S):
            await child.wait()
            await _gone(below)
    except TimeoutError as error:
        raise RuntimeError(f"processes {_alive(below)} do not end") from error


async def _gone(born: dict[int, str]) -> None:
    while _alive(born):  # noqa: ASYNC110 other programs
        await asyncio.sleep(_POLL_S)


def _born(pid: int) -> dict[int, str]:
    """Return when each process of a tree was started, as the kernel writes it; nothing if the tree is gone."""
    try:
        return {one: when for one in processes.tree(pid) if (when := _started(one))}
    except OSError:
        return {}


def _alive(born: dict[int, str]) -> list[int]:
    """Return those that are still the same; a number is given to others later."""
    return [pid for pid, when in born.items() if _started(pid) == when]


def _started(pid: int) -> str:
    """Return when a process was started; nothing where it has ended, or waits to be collected."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
