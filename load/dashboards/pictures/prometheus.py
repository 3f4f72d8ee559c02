"""A real Prometheus beside a run: started with the rules of deploy/, asked over HTTP, and ended with the run."""

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from load.demo import processes

_RULES: Final = Path(__file__).parents[3] / "deploy" / "prometheus" / "rules"
_READY_S: Final = 30.0
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10.0)


class NoPrometheus(Exception):
    """The program is not installed."""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One that runs. Asked within its `async with`."""

    session: aiohttp.ClientSession
    url: str

    async def range(self, query: str, start: float, end: float, step_s: float) -> list[dict[str, Any]]:
        """Return the series of a query from `start` to `end` (unix s)."""
        parameters = {"query": query, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step_s:g}"}
        async with self.session.get(f"{self.url}/api/v1/query_range", params=parameters, timeout=_TIMEOUT) as answer:
            document = await answer.json()
        if document["status"] != "success":
            raise ValueError(f"{query}: {document.get('error')}")
        found: list[dict[str, Any]] = document["data"]["result"]
        return found


@contextlib.asynccontextmanager
async def running(folder: Path, target: str, every_s: float) -> AsyncIterator[Prometheus]:
    """Run one that scrapes `target` as the job of gateways; NoPrometheus where there is none."""
    program = shutil.which("prometheus")
    if program is None:
        raise NoPrometheus("prometheus is not installed (Debian: apt-get install prometheus)")
    every = f"{every_s * 1e3:.0f}ms"
    document = {
        "global": {"scrape_interval": every, "evaluation_interval": every, "scrape_timeout": every},
        "rule_files": [str(_RULES / "*.yml")],
        "scrape_configs": [{"job_name": "turpin", "static_configs": [{"targets": [target]}]}],
    }
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump(document))
    port = _free_port()
    options = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    options.append(f"--web.listen-address=127.0.0.1:{port}")
    child = await processes.start("prometheus", [program, *options], folder / "prometheus.log")
    try:
        async with aiohttp.ClientSession() as session:
            server = Prometheus(session, f"http://127.0.0.1:{port}")
            await processes.until(child, lambda: _is_ready(server), _READY_S)
            yield server
    finally:
        await processes.end(child)


async def _is_ready(server: Prometheus) -> bool:
    with contextlib.suppress(aiohttp.ClientError, asyncio.TimeoutError):
        async with server.session.get(f"{server.url}/-/ready", timeout=_TIMEOUT) as answer:
            return answer.status == 200
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
