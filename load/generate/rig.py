"""What the benches run at: a gateway, a stand-in for a device or a model server, and clients, as real processes."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import grpc
import grpc.aio
import yaml

from load.demo.processes import turpin
from load.generate.sender import GrpcSender, Many, body_of
from load.ports import free_ports
from serving import wire
from serving.errors import ServingError
from serving.upstream import GrpcUpstream

MODEL: Final = "half"
# A gateway is there within a second on a quiet machine, a model server within eight.
_READY_S: Final = 20.0
_SERVER_READY_S: Final = 90.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What a gateway is told of its backend; None: it is learned."""

    in_flight: int | None = None
    rows: int = 64


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that runs, all of it in one process. `page`: its metrics, as a URL."""

    address: str
    pid: int
    page: str

    def cpu_s(self) -> float:
        """Return the processor time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_bytes(pid: int) -> int:
    """Return the memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextlib.asynccontextmanager
async def stand_in(a_ms: float, b_ms: float, *more: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Run the stand-in, with more options; yield its address, and what it saw once it has ended."""
    command = [sys.executable, "-P", "-m", "load.generate.stand_in", f"--a-ms={a_ms}", f"--b-ms={b_ms}", *more]
    async with reporting(command) as (address, seen):
        yield address, seen


@contextlib.asynccontextmanager
async def reporting(command: list[str]) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Run a server that writes its address first, and JSON at its end (SIGTERM); yield the address, and a place where its
    process id is, and once it has ended what it wrote."""
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, start_new_session=True)
    seen: dict[str, Any] = {"pid": process.pid}
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
async def timer_batcher(backend: str) -> AsyncIterator[str]:
    """Run the usual policy (timer.py) in front of a backend; yield its address."""
    command = [sys.executable, "-P", "-m", "load.generate.timer", backend]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None  # noqa: S101 it was asked for
    try:
        async with asyncio.timeout(_READY_S):
            address = (await process.stdout.readline()).decode().strip()
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_READY_S):
            await process.communicate()


@contextlib.asynccontextmanager
async def gateway(folder: Path, backend: str, setting: Setting, model: str = MODEL) -> AsyncIterator[Gateway]:
    """Run a gateway in front of a backend, as one process."""
    front, http, admin = free_ports(3)
    config = {
        "store": "memory:",
        "listen": {"grpc": f"127.0.0.1:{front}", "http": f"127.0.0.1:{http}", "admin": f"127.0.0.1:{admin}"},
        "backends": {
            "tfs": {
                "target": backend,
                "price_usd_per_hour": 0.5,
                "max_batch_rows": setting.rows,
                "max_in_flight": setting.in_flight or "auto",
                "models": {model: {"base_path": f"/models/{model}", "versions": [1]}},
            }
        },
    }
    path = folder / "turpin.yaml"
    path.write_text(yaml.safe_dump(config))
    with (folder / "gateway.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *turpin("serve", "-c", str(path)), stdout=log, stderr=log, start_new_session=True
        )
    try:
        await wait_until_serving(f"127.0.0.1:{front}")
        yield Gateway(f"127.0.0.1:{front}", process.pid, f"http://127.0.0.1:{admin}/metrics")
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_READY_S):
            await process.wait()


@contextlib.asynccontextmanager
async def model_server(folder: Path, model: str, base_path: Path) -> AsyncIterator[tuple[str, str]]:
    """Run the embedded model server with one model; yield its gRPC address and its page of metrics once it is loaded."""
    port, rest = free_ports(2)
    monitoring = folder / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }\n")
    command = turpin(
        "model-server",
        "--host=127.0.0.1",
        f"--port={port}",
        f"--rest_api_port={rest}",
        f"--model_name={model}",
        f"--model_base_path={base_path}",
        f"--monitoring_config_file={monitoring}",
    )
    with (folder / "model-server.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, start_new_session=True)
    try:
        upstream = GrpcUpstream(f"127.0.0.1:{port}")
        async with asyncio.timeout(_SERVER_READY_S):
            await _until(lambda: _is_loaded(upstream, model))
        await upstream.close()
        yield f"127.0.0.1:{port}", f"http://127.0.0.1:{rest}/monitoring/prometheus/metrics"
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_READY_S):
            await process.wait()


async def counted(page: str, series: str) -> float:
    """Return the sum of a page's series that begin so: what a server itself has counted."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5.0)) as session, session.get(page) as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(series))


async def wait_until_serving(address: str) -> None:
    """Wait until a gateway answers there; TimeoutError."""
    async with asyncio.timeout(_READY_S):
        await _until(lambda: _is_serving(address))


async def _until(is_so: Callable[[], Awaitable[bool]]) -> None:
    while True:
        if await is_so():
            return
        await asyncio.sleep(0.1)


async def _is_loaded(upstream: GrpcUpstream, model: str) -> bool:
    request = wire.GetModelStatusRequest(model_spec={"name": model}).SerializeToString()
    try:
        answer = wire.GetModelStatusResponse.FromString(await upstream.call(wire.GET_MODEL_STATUS, request, 1.0))
    except ServingError:
        return False
    return any(one.state == wire.AVAILABLE for one in answer.model_version_status)


async def _is_serving(address: str) -> bool:
    async with grpc.aio.insecure_channel(address) as channel:
        request = wire.GetModelStatusRequest(model_spec={"name": "nobody's"}).SerializeToString()
        try:
            await channel.unary_unary(wire.GET_MODEL_STATUS)(request, timeout=1.0)
        except grpc.aio.AioRpcError as error:
            return bool(error.code() is grpc.StatusCode.NOT_FOUND)
    return True


def clients(address: str, count: int, body: bytes | None = None) -> Many:
    """Return so many clients that send this, or else one row of one number, at a time."""
    sent = body or body_of(MODEL, "x", 1, 1)
    return Many([GrpcSender(address, sent, 30.0) for _ in range(count)])
