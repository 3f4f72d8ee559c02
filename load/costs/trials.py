"""The trials: a fresh gateway before one embedded model server, under three kinds of load."""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import aiohttp
import grpc.aio

from load.costs.orders import Trial
from load.demo import configuration, processes
from load.demo.plan import ARMS, PLANS, Folder, Ports
from load.demo.state import Gateway, State
from load.scenarios.servers import Server, open_channel
from load.switching.open_loop import OpenLoop
from load.switching.stage import body
from serving import wire

SATURATED: Final = "saturated"
STEADY: Final = "150 requests/s"
NEIGHBOUR: Final = "150 requests/s beside a busy neighbour"
CONDITIONS: Final = (SATURATED, STEADY, NEIGHBOUR)
_RATE: Final = 150.0
# Twice a full batch.
_CLIENTS: Final = 64
_TIMEOUT_S: Final = 20.0
_TRAIN_S: Final = 300.0
_READY_S: Final = 60.0
_RUNNING_S: Final = 120.0


async def measure(root: Path, *, port_base: int, trials: int, seconds: float) -> list[Trial]:
    """Train the demo's models, and make all trials, the conditions in turn."""
    folder, ports = Folder(root), Ports(port_base)
    folder.models.mkdir(parents=True)
    await _train(folder)
    configuration.write(folder, ports)
    versions = [plan.version for plan in PLANS]
    log = folder.logs / "model-server.log"
    server = Server("tfs-a", ports.of_server(0), folder.model_config, log, versions)
    found = []
    try:
        await server.start()
        for number in range(trials):
            for condition in CONDITIONS:
                found.append(await _trial(folder, ports, condition, number, seconds))
                sys.stderr.write(f"{condition}, {number}: {' < '.join(found[-1].order)}\n")
    finally:
        await server.end()
    return found


async def _train(folder: Folder) -> None:
    # Trained for an epoch: what they cost depends on their shapes alone.
    command = [sys.executable, "-P", "-m", "load.demo.train", str(folder.root), "--epochs-max", "1"]
    child = await processes.start("the training", command, folder.logs / "training.log")
    try:
        async with asyncio.timeout(_TRAIN_S):
            if await child.process.wait():
                raise child.failure("failed")
    finally:
        await processes.end(child)


async def _trial(folder: Folder, ports: Ports, condition: str, number: int, seconds: float) -> Trial:
    """Begin with an empty store, send for some seconds, and read what the gateway takes a prediction to cost."""
    shutil.rmtree(folder.store, ignore_errors=True)
    folder.store.mkdir()
    async with _neighbour(folder, is_wanted=condition == NEIGHBOUR), aiohttp.ClientSession() as session:
        asked = Gateway(session, ports)
        log = folder.logs / f"gateway-{number}.log"
        child = await processes.start("the gateway", processes.turpin("serve", "-c", str(folder.config)), log)
        channel = open_channel(ports.grpc)
        try:

            async def is_running() -> bool:
                state = await asked.state()
                return state is not None and state.phase == "running" and await asked.is_ready()

            await processes.until(child, is_running, _RUNNING_S)
            answered, failed = await _send(channel, condition, seconds)
            state = await asked.state()
            if state is None:
                raise child.failure("does not tell its state")
        finally:
            await channel.close()
            await processes.end(child)
    return Trial(condition, number, _costs(state), state.reference_rows, answered, failed, os.getloadavg()[0])


def _costs(state: State) -> dict[str, float]:
    found = {arm.name: arm.prediction_cost_usd for arm in state.arms}
    return {arm: cost for arm in ARMS if (cost := found.get(arm)) is not None}


async def _send(channel: grpc.aio.Channel, condition: str, seconds: float) -> tuple[int, int]:
    """Send for so long; return how many were answered and how many failed."""
    if condition == SATURATED:
        return await _saturate(channel, seconds)
    sender = OpenLoop(channel, body(), _RATE, asyncio.get_running_loop().time)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sender.run())
        await asyncio.sleep(seconds)
        sender.is_over = True
    failed = sum(bool(call.error) for call in sender.calls)
    return len(sender.calls) - failed, failed


async def _saturate(channel: grpc.aio.Channel, seconds: float) -> tuple[int, int]:
    """Have so many clients ask again as soon as they are answered."""
    loop, predict, request = asyncio.get_running_loop(), channel.unary_unary(wire.PREDICT), body()
    ends_at, counts = loop.time() + seconds, [0, 0]

    async def client() -> None:
        while loop.time() < ends_at:
            try:
                await predict(request, timeout=_TIMEOUT_S)
                counts[0] += 1
            except grpc.aio.AioRpcError:
                counts[1] += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_CLIENTS):
            tasks.create_task(client())
    return counts[0], counts[1]


@contextlib.asynccontextmanager
async def _neighbour(folder: Folder, *, is_wanted: bool) -> AsyncIterator[None]:
    """Keep one core busy meanwhile."""
    if not is_wanted:
        yield
        return
    child = await processes.start(
        "the neighbour", [sys.executable, "-c", "while True: pass"], folder.logs / "neighbour.log"
    )
    try:
        yield
    finally:
        await processes.end(child)
