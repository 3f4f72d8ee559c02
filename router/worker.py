"""A worker process: the data plane, told by the control process what to do. `worker_start.py` runs it."""

import asyncio
import contextlib
import pickle
import socket
import sys
from typing import Final

import uvloop

from router import garbage, preemption
from router.capture.captor import Captor
from router.clock import unix_now, wanted_s
from router.config import Config
from router.data_plane import DataPlane, Ports
from router.decisions import Keyring
from router.fronts.servers import MakeServer
from router.link import Configure, Counters, Failed, Link, Order, Ready, Stop
from router.logs import configure_logs
from router.metrics import Metrics, snapshot
from router.store import StoreError, open_store
from serving.grpc_server import GrpcServer

# Metrics in a scrape are this old at most; what a killed worker counted since is lost.
_METRICS_S: Final = 0.25


async def work(link: Link, make_server: MakeServer = GrpcServer) -> int:
    """Run one worker until it is told to stop or the control process is gone; return the exit code."""
    first = await link.receive()
    if not isinstance(first, Configure):
        return 1
    # From our own parent, over a socket nobody else has; JSON would hide the secrets.
    config: Config = pickle.loads(first.config)  # noqa: S301
    metrics = Metrics()
    stop = asyncio.Event()
    reason = ""
    store = open_store(config.store, memory=config.memory_folder())
    try:
        await store.open()
        plane = DataPlane(
            config,
            store=store,
            keys=Keyring(first.keys),
            metrics=metrics,
            unix_now=unix_now,
            is_shared=True,
            wanted_s=wanted_s,
            make_server=make_server,
        )
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(_listen(link, stop, plane), name="listen to control")
            reporting: list[asyncio.Task[None]] = []

            def on_ready(ports: Ports) -> None:
                garbage.settle()
                reporting.append(tasks.create_task(_report(link, metrics, ports), name="report to control"))
                reporting.append(tasks.create_task(_hand_over(link, plane.captor), name="hand over captures"))
                reporting.append(tasks.create_task(preemption.follow(), name="threads that interrupt one another"))

            await plane.run(on_ready=on_ready, stop=stop)
            listening.cancel()
            for task in reporting:
                task.cancel()
        with contextlib.suppress(ConnectionError):
            await link.send(Counters(snapshot(metrics.registry)))
    except* (StoreError, OSError) as group:
        reason = "; ".join(str(error) for error in group.exceptions)
    if reason:
        with contextlib.suppress(ConnectionError):
            await link.send(Failed(reason))
    await store.close()
    await link.close()
    return 1 if reason else 0


async def _listen(link: Link, stop: asyncio.Event, plane: DataPlane) -> None:
    while not isinstance(message := await link.receive(), Stop | None):
        if isinstance(message, Order):
            plane.obey(message)
    stop.set()


async def _report(link: Link, metrics: Metrics, ports: Ports) -> None:
    with contextlib.suppress(ConnectionError):
        await link.send(Ready(ports.grpc, ports.http))
        while True:
            await link.send(Counters(snapshot(metrics.registry)))
            await asyncio.sleep(_METRICS_S)


async def _hand_over(link: Link, captor: Captor) -> None:
    """Send what captures want, for ever."""
    with contextlib.suppress(ConnectionError):
        while True:
            await link.send(await captor.next())


def main() -> int:
    """Take the inherited socket and work; return the exit code."""
    configure_logs()
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.setblocking(False)

    async def run() -> int:
        return await work(await Link.over(sock))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())
