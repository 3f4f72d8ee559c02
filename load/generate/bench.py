"""`make bench-batching`: the figures of batching, through a real gateway, at a stand-in for a device.

Each figure is a ratio within one run: the ceiling is arithmetic, the best fixed setting is measured beside the learned
one. On a busy machine the gateway's and the generator's own time is what is measured; the load is noted with the result.
"""

import asyncio
import contextlib
import json
import os
import platform
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvloop
import yaml

from load.demo.processes import turpin
from load.generate.run import Tally, closed_loop, open_loop, poisson
from load.generate.sender import GrpcSender, Many, body_of

MODEL: Final = "half"
# The device of the figures: 64 rows in 36 ms.
_A_MS, _B_MS, _ROWS_MAX = 20.0, 0.25, 64
_CEILING: Final = _ROWS_MAX / ((_A_MS + _B_MS * _ROWS_MAX) / 1e3)
# What an experiment is given without saying so.
_LATENCY_MS: Final = 80.0
_SECONDS: Final = 6.0
_WARM_UP_S: Final = 3.0
# A gateway is there within a second on a quiet machine.
_READY_S: Final = 20.0
_RESULTS: Final = Path(__file__).parents[1] / "results" / "batching.json"
_FIXED: Final = ((1, 16), (1, 64), (2, 16), (2, 32), (2, 64), (4, 16), (4, 64))


@dataclass(frozen=True, slots=True)
class Setting:
    """What a gateway is told of its backend; None: it is learned."""

    in_flight: int | None = None
    rows: int = _ROWS_MAX


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.asynccontextmanager
async def stand_in(a_ms: float, b_ms: float) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Run the stand-in; yield its address, and what it saw once it has ended."""
    command = [sys.executable, "-P", "-m", "load.generate.stand_in", f"--a-ms={a_ms}", f"--b-ms={b_ms}"]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    seen: dict[str, Any] = {}
    assert process.stdout is not None  # noqa: S101 it was asked for
    try:
        async with asyncio.timeout(_READY_S):
            address = (await process.stdout.readline()).decode().strip()
        yield address, seen
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_READY_S):
            rest, _ = await process.communicate()
        seen.update(json.loads(rest))


@contextlib.asynccontextmanager
async def gateway(folder: Path, backend: str, setting: Setting) -> AsyncIterator[str]:
    """Run a gateway in front of the stand-in, as one process; yield its gRPC address."""
    grpc, http, admin = _free_ports(3)
    config = {
        "store": "memory:",
        "listen": {"grpc": f"127.0.0.1:{grpc}", "http": f"127.0.0.1:{http}", "admin": f"127.0.0.1:{admin}"},
        "backends": {
            "tfs": {
                "target": backend,
                "price_usd_per_hour": 0.5,
                "max_batch_rows": setting.rows,
                "max_in_flight": setting.in_flight or "auto",
                "models": {MODEL: {"base_path": "/models/half", "versions": [1]}},
            }
        },
    }
    path = folder / "turpin.yaml"
    path.write_text(yaml.safe_dump(config))
    with (folder / "gateway.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(*turpin("serve", "-c", str(path)), stdout=log, stderr=log)
    try:
        async with asyncio.timeout(_READY_S):
            while True:
                if await _answers(f"127.0.0.1:{grpc}"):
                    break
                await asyncio.sleep(0.1)
        yield f"127.0.0.1:{grpc}"
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_READY_S):
            await process.wait()


async def _answers(address: str) -> bool:
    async with clients(address, 1) as many:
        return await many.send() == "ok"


def clients(address: str, count: int) -> Many:
    """Return so many clients that send one row at a time."""
    return Many([GrpcSender(address, body_of(MODEL, "x", 1, 1), 30.0) for _ in range(count)])


async def _closed(address: str, in_flight: int) -> Tally:
    async with clients(address, 8) as many:
        return await closed_loop(
            many.send, in_flight=in_flight, seconds=_SECONDS, warm_up_s=_WARM_UP_S, clock=time.perf_counter
        )


async def _at(folder: Path, in_flight: int, setting: Setting) -> dict[str, Any]:
    """Measure a closed loop through a gateway."""
    async with stand_in(_A_MS, _B_MS) as (backend, seen), gateway(folder, backend, setting) as address:
        report = (await _closed(address, in_flight)).report()
    return report | {"stand_in": {key: seen[key] for key in ("calls", "rows_per_call", "in_flight_max")}}


async def _added(folder: Path) -> dict[str, float]:
    """Measure one request at a time, directly and through the gateway, by turns."""
    async with (
        stand_in(1.0, 0.0) as (backend, _),
        gateway(folder, backend, Setting()) as address,
        clients(backend, 1) as direct,
        clients(address, 1) as through,
    ):
        p50_ms: dict[str, list[float]] = {"direct": [], "through": []}
        for _ in range(4):
            for name, many in (("direct", direct), ("through", through)):
                tally = await closed_loop(many.send, in_flight=1, seconds=1.5, warm_up_s=0.3, clock=time.perf_counter)
                p50_ms[name].append(tally.report()["latency_ms"]["p50"])
    best = {name: min(found) for name, found in p50_ms.items()}
    return {**best, "added": round(best["through"] - best["direct"], 3)}


async def _overload(folder: Path) -> dict[str, Any]:
    """Offer five times what a device of 300 rows a second can do; peak is what the same gateway reached before."""
    async with stand_in(2.0, 1e3 / 300) as (backend, _), gateway(folder, backend, Setting()) as address:
        peak = (await _closed(address, 16)).report()
        async with clients(address, 8) as many:
            times = poisson(1500.0, _WARM_UP_S + _SECONDS, random.Random(1))
            tally = await open_loop(
                many.send, times, in_flight_max=20_000, warm_up_s=_WARM_UP_S, clock=time.perf_counter
            )
    report = tally.report()
    return {
        "peak_per_s": peak["answered_per_s"],
        "goodput_ratio": round(report["answered_per_s"] / peak["answered_per_s"], 3),
        "p99_ms": report["latency_ms"]["p99"],
        **report,
    }


async def bench(folder: Path) -> dict[str, Any]:
    """Measure all figures."""
    full = await _at(folder, 256, Setting())
    half = await _at(folder, 64, Setting())
    fixed = {
        f"{slots} calls of {rows} rows": (await _at(folder, 64, Setting(slots, rows)))["answered_per_s"]
        for slots, rows in _FIXED
    }
    added, overload = await _added(folder), await _overload(folder)
    best = max(fixed.values())
    figures = [
        ("256 in flight, share of the ceiling", full["answered_per_s"] / _CEILING, ">=", 0.95),
        ("64 in flight, share of the best fixed setting", half["answered_per_s"] / best, ">=", 0.95),
        ("one at a time, p50 ms added", added["added"], "<=", 1.0),
        ("5x overload, share of the peak answered", overload["goodput_ratio"], ">=", 0.9),
        ("5x overload, p99 ms of what was answered", overload["p99_ms"], "<=", _LATENCY_MS),
    ]
    return {
        "machine": {"cpus": os.cpu_count(), "load": os.getloadavg(), "python": platform.python_version()},
        "figures": [
            {
                "what": what,
                "measured": round(measured, 3),
                "wanted": f"{sign} {bar:g}",
                "is_met": measured >= bar if sign == ">=" else measured <= bar,
            }
            for what, measured, sign, bar in figures
        ],
        "full": full,
        "half": half,
        "fixed": fixed,
        "one_at_a_time_ms": added,
        "overload": overload,
    }


def main() -> int:
    """Measure, show, and keep the numbers; 1 if a figure is not met."""
    with tempfile.TemporaryDirectory() as folder:
        result = uvloop.run(bench(Path(folder)))
    _RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    for figure in result["figures"]:
        mark = "met" if figure["is_met"] else "NOT MET"
        sys.stdout.write(f"{figure['what']:48} {figure['measured']:>10} {figure['wanted']:>8}  {mark}\n")
    load = " ".join(f"{one:.1f}" for one in result["machine"]["load"])
    sys.stdout.write(f"load of the machine: {load}; numbers in {_RESULTS}\n")
    return 0 if all(figure["is_met"] for figure in result["figures"]) else 1


if __name__ == "__main__":
    sys.exit(main())
