"""What is measured: each a context that runs a gateway before a backend, and says where it listens."""

import asyncio
import contextlib
import functools
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from load.bench.envoy import envoy
from load.demo.processes import turpin
from load.generate.rig import counted, wait_until_serving
from load.ports import free_ports

MODEL: Final = "half"
# The experiment's public name: requests for it are decided, those for MODEL only pass through.
PUBLIC: Final = "bench"
KEY: Final = ("k1", b"not-a-secret-not-a-secret")
# Only where pyvoy is installed.
ENVOY_FRONT: Final = "turpin envoy front"
# Where a system that is started leaves its profile; None: it is not profiled.
PROFILE: Final[ContextVar[Path | None]] = ContextVar("PROFILE", default=None)
_END_S: Final = 20.0
# Workers send their counters to the process that has the page every 250 ms.
_COUNTERS_S: Final = 1.0
# Two arms warm for 1 to 2 s: what is asked meanwhile goes to control alone, beside the calibration.
_RUNNING_S: Final = 30.0
# Workers hear of it with the next snapshot: 0.15 s were seen.
_SNAPSHOT_S: Final = 1.0
_POLL_S: Final = 0.1
_ARMS: Final = (1, 2)


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway that runs. `answered` counts what it answered well, where it says so itself; `decided` with a token.

    `lag_s`: how old its page may be. `pid` 0: there is none but the backend.
    """

    address: str
    pid: int
    model: str
    page: str = ""
    front: str = "grpc"
    lag_s: float = 0.0

    async def answered(self) -> int | None:
        """Return how many requests it says it has answered well; None where it does not count."""
        await asyncio.sleep(self.lag_s)
        series = f'turpin_requests_total{{code="ok",front="{self.front}"}}'
        return int(await counted(self.page, series)) if self.page else None

    async def decided(self) -> int:
        """Return how many decisions between the arms it has counted; those of an experiment that warms are none."""
        series = 'turpin_decisions_total{{arm="v{}",experiment="{}",mode="experiment"}}'
        return sum([int(await counted(self.page, series.format(arm, PUBLIC))) for arm in _ARMS])


@dataclass(frozen=True, slots=True)
class System:
    """One row of the table. `has_tokens`: its answers carry decisions. `loads` it is measured under (measure.LOADS)."""

    name: str
    run: Callable[[Path, str], AbstractAsyncContextManager[Running]]
    has_tokens: bool = False
    loads: tuple[str, ...] = ("sat", "lo")


@contextlib.asynccontextmanager
async def process(command: list[str], log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program whose first line is for us and whose complaints go to a file; end it at the end."""
    with log.open("ab") as complaints:
        child = await asyncio.create_subprocess_exec(
            *command, stdout=subprocess.PIPE, stderr=complaints, start_new_session=True
        )
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_END_S):
            await child.communicate()


def _profiled(command: list[str]) -> list[str]:
    """Let cProfile run a program of Python's where that is wanted."""
    path = PROFILE.get()
    if path is None:
        return command
    program = command[2:] if command[0] == sys.executable else command
    return [sys.executable, "-P", "-m", "cProfile", "-o", str(path), *program]


@contextlib.asynccontextmanager
async def _bare(kind: str, folder: Path, backend: str) -> AsyncIterator[Running]:
    front = "rest" if kind == "rest" else "grpc"
    module = "load.bench.bare_rest" if kind == "rest" else "load.bench.bare"
    kinds = [] if kind == "rest" else [kind]
    command = _profiled([sys.executable, "-P", "-m", module, *kinds, backend])
    async with process(command, folder / "bare.log") as child:
        assert child.stdout is not None  # noqa: S101 it was asked for
        yield Running((await child.stdout.readline()).decode().strip(), child.pid, MODEL, front=front)


@contextlib.asynccontextmanager
async def _turpin(model: str, front: str, folder: Path, backend: str) -> AsyncIterator[Running]:
    grpc, http, admin = free_ports(3)
    arms = [{"name": f"v{n}", "backend": "tfs", "model": MODEL, "version": n} for n in _ARMS]
    document: dict[str, Any] = {
        # With all that a gateway does: the journal, too, which wants a folder. A profile is of one process.
        "store": "memory:" if PROFILE.get() else f"sqlite:///{folder}/turpin.db",
        "decision_keys": [f"{KEY[0]}:{KEY[1].decode()}"],
        "listen": {"grpc": f"127.0.0.1:{grpc}", "http": f"127.0.0.1:{http}", "admin": f"127.0.0.1:{admin}"},
        # As the bare ones.
        "backends": {"tfs": {"target": backend, "price_usd_per_hour": 0.5, "max_batch_rows": 32, "max_in_flight": 2}},
        "experiments": [
            {
                "name": PUBLIC,
                "model": PUBLIC,
                "control": "v1",
                "arms": arms,
                "objective": {"value_usd": 1e-6},
                # Two arms that stay: a batch is of one of them.
                "stop": {"min_per_arm": 10**9, "cycle": None},
            }
        ],
    }
    if front == "envoy":
        document["front"] = "envoy"
    path = folder / "turpin.yaml"
    path.write_text(yaml.safe_dump(document))
    with (folder / "turpin.log").open("ab") as log:
        child = await asyncio.create_subprocess_exec(
            *_profiled(turpin("serve", "-c", str(path))), stdout=log, stderr=log, start_new_session=True
        )
    try:
        await wait_until_serving(f"127.0.0.1:{grpc}")
        address, page = f"127.0.0.1:{http if front == 'rest' else grpc}", f"http://127.0.0.1:{admin}/metrics"
        async with asyncio.timeout(_RUNNING_S):
            await _until_running(page)
        yield Running(address, child.pid, model, page, "rest" if front == "rest" else "grpc", lag_s=_COUNTERS_S)
    finally:
        child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_END_S):
            await child.wait()


async def _until_running(page: str) -> None:
    series = f'turpin_experiment_phase{{experiment="{PUBLIC}",phase="running"}}'
    while True:
        # The page may come later than the front.
        with contextlib.suppress(aiohttp.ClientConnectionError):
            if await counted(page, series) == 1.0:
                await asyncio.sleep(_SNAPSHOT_S)
                return
        await asyncio.sleep(_POLL_S)


@contextlib.asynccontextmanager
async def _envoy(folder: Path, backend: str) -> AsyncIterator[Running]:
    (port,) = free_ports(1)
    async with envoy(folder, port, backend) as pid:
        yield Running(f"127.0.0.1:{port}", pid, MODEL)


@contextlib.asynccontextmanager
async def _none(folder: Path, backend: str) -> AsyncIterator[Running]:
    yield Running(backend, 0, MODEL)


_ALL: Final = ("sat", "lo", "one")
SYSTEMS: Final = (
    # Saturated it says that nobody waits for the backend.
    System("no gateway", _none, loads=("sat", "one")),
    System("envoy", _envoy, loads=_ALL),
    System("bare grpc.aio batch", functools.partial(_bare, "batch")),
    System("bare grpc.aio proxy", functools.partial(_bare, "proxy")),
    System("bare aiohttp json batch", functools.partial(_bare, "rest")),
    System("turpin grpc front", functools.partial(_turpin, PUBLIC, "grpc"), has_tokens=True, loads=_ALL),
    System("turpin grpc pass-through", functools.partial(_turpin, MODEL, "grpc")),
    System(ENVOY_FRONT, functools.partial(_turpin, PUBLIC, "envoy"), has_tokens=True, loads=_ALL),
    System("turpin rest", functools.partial(_turpin, PUBLIC, "rest"), has_tokens=True),
)
