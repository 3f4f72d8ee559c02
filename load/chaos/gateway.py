"""`turpin serve` as a process that is killed, stopped, ended and started again, on the same ports."""

import asyncio
import contextlib
import json
import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from load.chaos.model_server import MODEL, VERSIONS
from load.chaos.waiting import until
from load.demo import processes
from load.demo.processes import Child
from load.ports import free_ports

EXPERIMENT: Final = "numbers"
KEYS: Final = ("k1:not-a-secret-not-a-secret",)
# Long enough for every outage here, and short enough that what waits is not for ever.
WINDOW: Final = "10m"
_READY_S: Final = 60.0
_LOOK = aiohttp.ClientTimeout(total=2.0)


def experiment(window: str = WINDOW) -> dict[str, Any]:
    """Return an experiment of three equal arms that never ends: what counts here is what is counted."""
    return {
        "name": EXPERIMENT,
        "model": MODEL,
        "control": "v1",
        "arms": [{"name": f"v{version}", "backend": "tfs", "version": version} for version in VERSIONS],
        "objective": {
            "value_usd": 1e-6,
            "reward": {"type": "continuous", "range": [0, 1], "window": window},
        },
        "policy": {"block": "1s", "refresh": "0.2s"},
        "stop": {"cycle": None, "min_per_arm": 10**9},
        # Arms are calibrated up to the first batch that takes longer than this.
        "batching": {"latency_ms": 200, "max_rows": 16},
    }


def configuration(store: str, targets: list[str], window: str = WINDOW, **settings: Any) -> dict[str, Any]:
    """Return `turpin.yaml` without its ports."""
    return {
        "store": store,
        "backends": {"tfs": {"target": targets, "price_usd_per_hour": 0.02}},
        "experiments": [experiment(window)],
        **settings,
    }


class Gateway:
    """One `turpin serve`. Mutable: its process, and after how many seconds it served when it was first started."""

    def __init__(
        self,
        folder: Path,
        name: str,
        document: Mapping[str, Any],
        *,
        workers: int = 1,
        ports: tuple[int, int, int] | None = None,
    ) -> None:
        """`document` is its `turpin.yaml`, but for `ports` (gRPC, HTTP, admin; None: free ones) and `workers`."""
        self.name, self.folder = name, folder
        self.grpc_port, self.http_port, self.admin_port = ports or free_ports(3)
        listen = {
            "grpc": f"127.0.0.1:{self.grpc_port}",
            "http": f"127.0.0.1:{self.http_port}",
            "admin": f"127.0.0.1:{self.admin_port}",
        }
        self._config = folder / f"{name}.yaml"
        self._config.write_text(yaml.safe_dump({**document, "listen": listen, "workers": workers}))
        self._log = folder / f"{name}.log"
        self._child: Child | None = None
        self.first_ready_s = 0.0

    @property
    def grpc(self) -> str:
        """The address for predictions."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def http(self) -> str:
        """The address for rewards."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def child(self) -> Child:
        """The control process."""
        if self._child is None:
            raise ValueError(f"gateway {self.name} was not started")
        return self._child

    async def start(self, *, is_awaited: bool = True) -> None:
        """Start it, and wait until it serves."""
        command = processes.turpin("serve", "-c", str(self._config))
        self._child = await processes.start(f"gateway {self.name}", command, self._log)
        if is_awaited:
            await self.ready()

    async def ready(self) -> None:
        """Wait until both ports say so, and the experiment runs."""
        began = asyncio.get_running_loop().time()
        await processes.until(self.child, self.is_ready, _READY_S)
        self.first_ready_s = self.first_ready_s or asyncio.get_running_loop().time() - began

        async def runs() -> bool:
            return (await self.state()).get("phase") == "running"

        await until(f"gateway {self.name} runs the experiment", runs, _READY_S)

    async def is_ready(self) -> bool:
        """Whether both ports say that it serves."""
        ports = (self.http_port, self.admin_port)
        return all([await self._get(f"http://127.0.0.1:{port}/readyz") is not None for port in ports])

    def workers(self) -> list[int]:
        """Return the process ids of its workers."""
        pid = self.child.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        found = []
        for child in map(int, children):
            with contextlib.suppress(OSError):
                if b"router.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(child)
        return found

    async def kill(self) -> None:
        """Kill the control process and all workers at once, as a machine does that loses power."""
        os.killpg(self.child.pid, signal.SIGKILL)
        await self.child.process.wait()

    def signal(self, number: int) -> None:
        """Send a signal to the control process and all workers."""
        os.killpg(self.child.pid, number)

    async def end(self) -> int:
        """End it in order (SIGTERM), and return its exit status."""
        # What is stopped hears no SIGTERM.
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGCONT)
        return await processes.end(self.child)

    def log(self) -> str:
        """Return all that its processes have said so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines of one event."""
        found = []
        for line in self.log().splitlines(keepends=True):
            # The last line may be half there.
            if line.startswith("{") and line.endswith("\n"):
                facts: dict[str, Any] = json.loads(line)
                if facts.get("event") == name:
                    found.append(facts)
        return found

    async def state(self) -> dict[str, Any]:
        """Return the experiment's state; {} while there is none."""
        body = await self._get(f"http://127.0.0.1:{self.admin_port}/admin/v1/experiments/{EXPERIMENT}/state")
        return {} if body is None else dict(json.loads(body))

    async def metrics(self) -> dict[str, float]:
        """Return every sample of a scrape by its name with labels; {} while it does not answer."""
        body = await self._get(f"http://127.0.0.1:{self.admin_port}/metrics")
        samples = re.findall(r"^([a-z][^ ]*(?:\{.*\})?) (\S+)$", (body or b"").decode(), re.MULTILINE)
        return {name: float(value) for name, value in samples}

    async def _get(self, url: str) -> bytes | None:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with aiohttp.ClientSession(timeout=_LOOK) as session, session.get(url) as response:
                if response.status == 200:
                    return await response.read()
        return None
