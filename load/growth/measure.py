"""One point, once: a gateway of its own, what it costs at rest and under a closed loop, and whether its counts agree."""

import asyncio
import contextlib
import math
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from load.bench import processes
from load.bench.push import Asked, grpc_of, push
from load.demo.processes import turpin
from load.generate.rig import MODEL, counted, stand_in
from load.generate.sender import body_of
from load.growth.idle import idle
from load.growth.points import Point
from load.ports import free_ports

# The gateway has a core of its own; generator and backend share the other.
_GATEWAY: Final = {0}
_OTHERS: Final = {1}
# Of these eight connections each has its share of what is in flight.
_USED: Final = 8
_WARM_UP: Final = 300
_REST_S: Final = 3.0
# A thousand experiments warm two arms each: their calibrations take minutes.
_RUNNING_S: Final = 900.0
# Between looks at a page that has some lines for each experiment: a thousand make it one of 3 MB.
_POLL_S: Final = 0.3
_POLL_EACH_S: Final = 0.01
_END_S: Final = 60.0
_SPARE_BYTES: Final = 1 << 20
# Experiments share so many models. With one each, of a thousand 62 ran after 4 minutes: what a control process asks of every
# model once a second fills its core.
_MODELS: Final = 10
_NEVER: Final = 10**9


@dataclass(frozen=True, slots=True)
class Cost:
    """What was measured: processor time of each answer, and of a second at rest; seconds until all experiments ran.

    `rest_us`: what the gateway would have taken at rest meanwhile, for each answer; it is part of `cpu_us`.
    """

    cpu_us: float
    rest_us: float
    rps: float
    p50_ms: float
    p99_ms: float
    rest_ms_per_s: float
    ready_s: float
    rss_mb: float


@dataclass(frozen=True, slots=True)
class _Running:
    grpc: str
    page: str
    pid: int
    ready_s: float


def document(point: Point, backend: str, grpc: int, http: int, admin: int) -> dict[str, Any]:
    """Return the configuration of a point's gateway."""
    versions = range(1, point.arms + 1)
    experiments = [
        {
            "name": f"e{n}",
            "model": f"public-{n}",
            "control": "v1",
            "arms": [
                {"name": f"v{v}", "backend": "tfs", "model": f"{MODEL}-{n % _MODELS}", "version": v} for v in versions
            ],
            "objective": {"value_usd": 1e-6},
            # All arms stay.
            "stop": {"min_per_arm": _NEVER, "cycle": None},
        }
        for n in range(point.experiments)
    ]
    rows = {"max_batch_rows": point.batch_rows_max, "max_in_flight": 2}
    return {
        "store": "memory:",
        "listen": {"grpc": f"127.0.0.1:{grpc}", "http": f"127.0.0.1:{http}", "admin": f"127.0.0.1:{admin}"},
        "backends": {"tfs": {"target": backend, "price_usd_per_hour": 0.5, **rows}},
        "experiments": experiments,
    }


@contextlib.asynccontextmanager
async def _gateway(folder: Path, point: Point, backend: str) -> AsyncIterator[_Running]:
    """Run a gateway until all its experiments run."""
    grpc, http, admin = free_ports(3)
    path = folder / "turpin.yaml"
    path.write_text(yaml.safe_dump(document(point, backend, grpc, http, admin)))
    began = time.perf_counter()
    with (folder / "turpin.log").open("ab") as log:
        child = await asyncio.create_subprocess_exec(
            *turpin("serve", "-c", str(path)), stdout=log, stderr=log, start_new_session=True
        )
    try:
        page = f"http://127.0.0.1:{admin}/metrics"
        async with asyncio.timeout(_RUNNING_S):
            await _until_running(page, point.experiments)
        yield _Running(f"127.0.0.1:{grpc}", page, child.pid, time.perf_counter() - began)
    finally:
        child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_END_S):
            await child.wait()


async def _until_running(page: str, count: int) -> None:
    while True:
        # Before it listens nobody answers.
        with contextlib.suppress(aiohttp.ClientConnectionError):
            if await _running(page) == count:
                return
        await asyncio.sleep(_POLL_S + _POLL_EACH_S * count)


async def _running(page: str) -> int:
    """Return how many experiments run, as the metrics say."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_END_S)) as session,
        session.get(page) as answer,
    ):
        lines = (await answer.text()).splitlines()
    return sum(
        line.startswith("turpin_experiment_phase{") and 'phase="running"' in line and line.endswith(" 1.0")
        for line in lines
    )


async def measure(point: Point, seconds: float, folder: Path) -> Cost:
    """Measure a point for about so many seconds of load. RuntimeError if an answer is missing, or was not counted."""
    async with (
        stand_in(0.0, 0.0, f"--versions={point.arms}") as (backend, seen),
        _gateway(folder, point, backend) as running,
        idle(running.grpc, point.connections - _USED),
    ):
        processes.pin(running.pid, _GATEWAY)
        processes.pin(seen["pid"], _OTHERS)
        rested_s = processes.cpu_s(running.pid)
        await asyncio.sleep(_REST_S)
        rested_s = processes.cpu_s(running.pid) - rested_s
        asked = grpc_of(body_of("public-0", "x", 1, point.size_bytes // 4))
        warm_up = _WARM_UP if point.size_bytes < _SPARE_BYTES else 2 * point.in_flight
        warm = await _pushed(folder, running, asked, point, warm_up)
        requests = max(warm_up, math.ceil(seconds * warm_up / warm[1]))
        before, cpu_s = await counted(running.page, "turpin_decisions_total"), processes.cpu_s(running.pid)
        answers, took_s, p50_s, p99_s = await _pushed(folder, running, asked, point, requests)
        cpu_s = processes.cpu_s(running.pid) - cpu_s
        decided = await counted(running.page, "turpin_decisions_total") - before
        rss_mb = processes.memory_mb(running.pid)
    if not answers == decided == requests:
        raise RuntimeError(f"{requests} requests, {answers} answers, {decided:.0f} decisions at {point}")
    return Cost(
        cpu_us=cpu_s / answers * 1e6,
        rest_us=rested_s / _REST_S * took_s / answers * 1e6,
        rps=answers / took_s,
        p50_ms=p50_s * 1e3,
        p99_ms=p99_s * 1e3,
        rest_ms_per_s=rested_s / _REST_S * 1e3,
        ready_s=running.ready_s,
        rss_mb=rss_mb,
    )


async def _pushed(
    folder: Path, running: _Running, asked: Asked, point: Point, requests: int
) -> tuple[int, float, float, float]:
    """Send so many; return answers, seconds in all, and the median and the slowest hundredth of an answer's."""
    pushed = await push(
        folder, running.grpc, asked, requests=requests, per_second=None, cores=_OTHERS, in_flight=point.in_flight
    )
    return len(pushed.took_s), pushed.seconds, pushed.quantile_s(0.5), pushed.quantile_s(0.99)
