"""The real processes that are switched: an embedded model server with three small versions, and a gateway before it."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import numpy as np
import yaml

from load.demo import processes
from load.demo.configuration import models
from load.demo.plan import EXPERIMENT, INPUT, MODEL, PIXELS, Folder, Ports
from load.demo.processes import Child
from load.demo.state import Gateway
from load.scenarios.servers import Server, open_channel
from load.switching.open_loop import OpenLoop
from load.switching.operations import Operations
from serving import arrays, wire
from turpin.async_client import AsyncClient

SERVED: Final = (1, 2, 3)
NEW: Final = 4
_EXPORT_S: Final = 120.0
_READY_S: Final = 60.0


@dataclass(slots=True)
class Stage:
    """A running gateway and its model server. Mutable: the gateway's process, which may be killed and started again."""

    server: Server
    gateway: Child
    folder: Folder
    is_ready: Callable[[], Awaitable[bool]]
    client: AsyncClient
    operations: Operations
    sender: OpenLoop
    package: Path  # the version that is not there yet

    async def start_again(self) -> None:
        """Start the gateway once more, after its end, on the same store and ports."""
        self.gateway = await _start(self.folder)
        await processes.until(self.gateway, self.is_ready, _READY_S)

    async def end(self) -> None:
        """End the gateway."""
        await processes.end(self.gateway)


def configuration(folder: Folder, ports: Ports, workers: int) -> dict[str, Any]:
    """Return `turpin.yaml`: an experiment that ends only by order."""
    return {
        "listen": {name: f"127.0.0.1:{getattr(ports, name)}" for name in ("grpc", "http", "admin")},
        "workers": workers,
        "store": f"sqlite:///{folder.store.resolve() / 'turpin.db'}",
        "backends": {
            "tfs-a": {
                "target": f"127.0.0.1:{ports.model_grpc}",
                "price_usd_per_hour": 0.526,
                "control": "managed",
                "publish": str(folder.models.parent.resolve()),
                "models": {MODEL: {"base_path": str(folder.models.resolve()), "versions": list(SERVED)}},
            }
        },
        "experiments": [
            {
                "name": EXPERIMENT,
                "model": MODEL,
                "control": "v1",
                "arms": [{"name": f"v{n}", "backend": "tfs-a", "version": n} for n in SERVED],
                "objective": {"value_usd": 1e-6},
                "policy": {"block": "1s", "refresh": "0.2s"},
                # Never enough rewards: the weights stay equal, and every end is an order.
                "stop": {"cycle": None, "min_per_arm": 10**9},
                "on_stop": {"grace": "0s"},
                "batching": {"latency_ms": 20, "max_rows": 32},
            }
        ],
    }


def body() -> bytes:
    """Return the Predict that is sent: one image, by the public name."""
    request = wire.PredictRequest(model_spec={"name": MODEL})
    request.inputs[INPUT].CopyFrom(arrays.from_numpy(np.full((1, PIXELS), 0.5, np.float32), as_content=True))
    return bytes(request.SerializeToString())


async def export(folder: Folder) -> None:
    """Export all versions, the new one aside."""
    command = [sys.executable, "-P", "-m", "load.switching.models"]
    for place, versions in ((folder.models, SERVED), (folder.aside, (NEW,))):
        child = await processes.start("the export", [*command, str(place), *map(str, versions)], folder.logs / "export")
        try:
            async with asyncio.timeout(_EXPORT_S):
                if await child.process.wait():
                    raise child.failure("failed")
        finally:
            await processes.end(child)


@asynccontextmanager
async def running(root: Path, *, port_base: int, rate: float, workers: int) -> AsyncIterator[Stage]:
    """Start both and wait until the experiment runs; afterwards end them, whatever happened."""
    folder, ports = Folder(root), Ports(port_base)
    folder.store.mkdir(parents=True)
    await export(folder)
    folder.config.write_text(yaml.safe_dump(configuration(folder, ports, workers)), encoding="utf-8")
    folder.model_config.write_text(models(folder, SERVED), encoding="utf-8")
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        log = folder.logs / "model-server.log"
        server = Server("tfs-a", ports.of_server(0), folder.model_config, log, SERVED)
        stack.push_async_callback(server.end)
        await server.start()
        asked = Gateway(session, ports)
        child = await _start(folder)
        # Should it not become ready; of one that is gone nothing is left to end.
        stack.push_async_callback(processes.end, child)
        await processes.until(child, asked.is_ready, _READY_S)
        channel = open_channel(ports.grpc)
        stack.push_async_callback(channel.close)
        (token,) = [path.read_text().strip() for path in folder.store.iterdir() if path.name.endswith("admin-token")]
        url = f"http://127.0.0.1:{ports.admin}"
        client = AsyncClient(url, token=token)
        operations = Operations(
            client=client,
            look=asked.state,
            session=session,
            admin_url=url,
            token=token,
            now=loop.time,
        )
        await operations.until("the experiment runs", lambda state: state.phase == "running")
        sender = OpenLoop(channel, body(), rate, loop.time)
        stage = Stage(server, child, folder, asked.is_ready, client, operations, sender, folder.aside / str(NEW))
        stack.push_async_callback(stage.end)
        yield stage


async def _start(folder: Folder) -> Child:
    command = processes.turpin("serve", "-c", str(folder.config))
    return await processes.start("the gateway", command, folder.logs / "gateway.log")
