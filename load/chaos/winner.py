"""The demo's experiment on two gateways and one Redis, of which the leading one is killed half-way: the same winner.

Real models on the embedded model server, trained once; then it is played twice, the first time undisturbed.
"""

import asyncio
import contextlib
import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from load.chaos.case import Findings, Setting, Skipped
from load.chaos.gateway import KEYS, Gateway
from load.chaos.redis_process import RedisProcess
from load.chaos.waiting import until
from load.demo import configuration, processes, training
from load.demo import experiment as experiments
from load.demo.books import Books
from load.demo.experiment import Clients
from load.demo.plan import ARMS, PLANS, Folder, Options, Ports
from load.demo.result import Run, missing
from load.demo.rewards import RewardSender
from load.demo.senders import Answer, Failed, RestSender, Sender
from load.demo.state import Gateway as Shown
from load.ports import free_ports
from load.scenarios.servers import Server

_TRAINED_S: Final = 180.0
_PLAYED_S: Final = 120.0
_READY_S: Final = 60.0
_SEED: Final = 0
# A form of 32 images comes at once, half of it to each gateway; two forms may be under way.
_FAILED_MAX: Final = 64


class Balanced:
    """As a balancer does: requests go to the gateways in turn, and where nobody listens to the next. Mutable: the turn."""

    def __init__(self, senders: Sequence[Sender]) -> None:
        self._senders = list(senders)

    async def predict(self, image: int) -> Answer:
        """Ask for image number `image`; raises Failed."""
        self._senders = [*self._senders[1:], self._senders[0]]
        *others, last = self._senders
        for sender in others:
            try:
                return await sender.predict(image)
            except Failed as error:
                if error.is_sent:
                    # It is for the client to count, and not for the demo to hold its fire: the other one serves.
                    raise Failed(str(error)) from error
        return await last.predict(image)


@dataclass(slots=True)
class Table:
    """What one of both runs is played on. Mutable: the gateways' processes."""

    gateways: tuple[Gateway, Gateway]
    shown: tuple[Shown, Shown]
    clients: Clients
    options: Options


async def same_winner(setting: Setting, findings: Findings) -> None:
    """Train, play undisturbed, play with a kill, and compare."""
    if importlib.util.find_spec("tensorflow") is None:
        raise Skipped("the demo's models want TensorFlow: pip install 'turpin[local]'")
    folder = Folder(setting.folder / "trained")
    with (setting.folder / "demo.log").open("w") as log:
        console = Console(file=log)
        setting.tell("training three models")
        await asyncio.to_thread(training.clear, folder)
        await training.train(folder, _SEED, console, _TRAINED_S)
        setting.tell("two gateways, undisturbed")
        calm = await _played(setting, folder, "calm", console, None)
        setting.tell("two gateways, and one is killed half-way")
        killed = await _played(setting, folder, "killed", console, calm.books.answers // 2)
    failed = killed.books.failed_total
    findings.figures |= {
        "winner undisturbed": str(calm.winner),
        "winner with a kill": str(killed.winner),
        "predictions": killed.books.requests,
        "failed when it was killed": failed,
        "rewards sent": killed.rewards_sent,
        "rewards counted": killed.state.rewards if killed.state else 0,
        "retired": " ".join(killed.state.retired if killed.state else ()),
    }
    findings.hold(calm.winner is not None and calm.winner == killed.winner, "the winners differ")
    findings.hold(failed <= _FAILED_MAX, f"{failed} requests failed: {dict(killed.books.failures)}")
    for words in missing(calm):
        findings.hold(False, f"undisturbed: {words}")
    for words in (*killed.events, *missing(killed)):
        # Those that the killed gateway had are counted above.
        findings.hold("requests failed" in words, f"with a kill: {words}")


async def _played(setting: Setting, folder: Folder, name: str, console: Console, kill_at: int | None) -> Run:
    """Play the demo's experiment once; kill the leading gateway after so many answers."""
    run = Run(_SEED, Books(ARMS, time.monotonic))
    async with contextlib.AsyncExitStack() as stack:
        table = await _laid(setting, folder, name, stack)
        deadline = time.monotonic() + _PLAYED_S
        await experiments.until_running(run, table.clients, console, deadline)
        async with asyncio.TaskGroup() as tasks:
            if kill_at is not None:
                tasks.create_task(_kill(table.gateways, lambda: run.books.answers >= kill_at), name="kill")
            await experiments.conduct(run, table.clients, table.options, console, deadline)
        if kill_at is not None:
            await _agrees(table, run)
    return run


async def _kill(gateways: tuple[Gateway, Gateway], is_time: Callable[[], bool]) -> None:
    leader, other = gateways
    await until("half of the answers", is_time, _PLAYED_S)
    if not leader.events("leading") or other.events("leading"):
        raise ValueError("the first gateway does not lead")
    await leader.kill()


async def _agrees(table: Table, run: Run) -> None:
    """Start the killed gateway again, and note when it tells of another winner."""
    gateway, shown = table.gateways[0], table.shown[0]
    await gateway.start(is_awaited=False)
    await processes.until(gateway.child, gateway.is_ready, _READY_S)
    state = await shown.state()
    if state is None or state.winner != run.winner:
        run.events.append(f"the killed gateway tells of {state.winner if state else 'nothing'}")


async def _laid(setting: Setting, folder: Folder, name: str, stack: contextlib.AsyncExitStack) -> Table:
    """Start the Redis, the model server and both gateways, the one that is to lead first."""
    root = setting.folder / name
    await asyncio.to_thread(root.mkdir)
    redis = RedisProcess(root / "redis")
    stack.push_async_callback(redis.end)
    await redis.start()
    ports = (_ports(), _ports())
    server_ports = ports[0].of_server(0)
    await asyncio.to_thread(configuration.write, folder, ports[0])
    versions = [plan.version for plan in PLANS]
    server = Server(configuration.BACKEND, server_ports, folder.model_config, root / "model-server.log", versions)
    stack.push_async_callback(server.end)
    await server.start()
    gateways = tuple(_gateway(root, folder, number, ports[0], redis.url, one) for number, one in enumerate(ports))
    for gateway in gateways:
        stack.push_async_callback(gateway.end)
        await gateway.start(is_awaited=False)
        await processes.until(gateway.child, gateway.is_ready, _READY_S)
    session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
    pixels, digits = await asyncio.to_thread(_held_out, folder.held_out)
    shown = (Shown(session, ports[0]), Shown(session, ports[1]))
    clients = Clients(
        # The second one, which survives.
        gateway=shown[1],
        senders=(Balanced([RestSender(session, gateway.http, pixels) for gateway in gateways]),),
        rewards=RewardSender(session, gateways[1].http),
        server_states=server.states,
        digits=digits,
        is_back=shown[1].is_ready,
    )
    return Table((gateways[0], gateways[1]), shown, clients, Options(ports[1], folder, seed=_SEED))


def _gateway(root: Path, folder: Folder, number: int, server: Ports, store: str, ports: Ports) -> Gateway:
    document: dict[str, Any] = {
        **configuration.gateway(folder, server),
        "store": store,
        "decision_keys": list(KEYS),
        "spool": {"folder": f"{root}/spool-{number}"},
    }
    return Gateway(root, f"gateway-{number}", document, ports=(ports.grpc, ports.http, ports.admin))


def _ports() -> Ports:
    """Return ports in a row that are free."""
    while True:
        (base,) = free_ports(1)
        with contextlib.suppress(configuration.PortTaken, ValueError):
            ports = Ports(base)
            configuration.refuse_taken(ports)
            return ports


def _held_out(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    with np.load(path) as held_out:
        return held_out["pixels"], held_out["digits"]
