"""One demo from training to report: what happens in which order, and what is ended whatever happens."""

import asyncio
import contextlib
import importlib
import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import msgspec
import numpy as np
from rich.console import Console

from load.demo import configuration, experiment, picture, report, training
from load.demo.books import Books
from load.demo.experiment import Clients
from load.demo.plan import ARMS, Options, Ports
from load.demo.processes import ChildFailed
from load.demo.result import Run, document, missing
from load.demo.rewards import RewardSender
from load.demo.senders import RestSender
from load.demo.services import Services
from load.demo.signals import EXIT_SIGNAL, Signalled, until_signal
from load.demo.state import Gateway

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2

# What a demo does: it speaks on the console, and its list gets the exit status as soon as that is known.
Play = Callable[[Options, Console, list[int]], Coroutine[Any, Any, None]]


def main(options: Options, play: Play | None = None) -> int:
    """Run the main demo, or `play`, speaking on stderr; return the exit status. A signal ends its processes, too, in order."""
    # A stderr of our own: the other one goes to a file while TensorFlow is imported, which greets at length.
    with os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8") as stderr:
        console = Console(file=stderr)
        try:
            configuration.refuse_taken(options.ports)
            training.clear(options.folder)
            if options.json_path is not None:
                # Better refused now than after the run.
                options.json_path.parent.mkdir(parents=True, exist_ok=True)
                if options.json_path.is_dir():
                    raise IsADirectoryError(f"--json must name a file, {options.json_path} is a folder")
        except (configuration.PortTaken, training.NotOurs, OSError) as error:
            _complain(console, str(error))
            return EXIT_BAD_INPUT
        failures: list[str] = []
        status = EXIT_FAILED
        try:
            status = asyncio.run(_play(options, console, play or _demo))
        except* ChildFailed as group:
            failures = [str(error) for error in _leaves(group)]
        for failure in failures:
            _complain(console, failure)
        return status


def _complain(console: Console, message: str) -> None:
    console.print(f"turpin demo: {message}", style="red", highlight=False, markup=False, soft_wrap=True)


def _leaves(group: BaseExceptionGroup[ChildFailed]) -> Iterator[ChildFailed]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


async def _play(options: Options, console: Console, play: Play) -> int:
    """Run the demo until it is over or a signal comes; return the exit status."""
    finished: list[int] = []
    try:
        await until_signal(play(options, console, finished))
    except Signalled as signalled:
        console.print(str(signalled), highlight=False)
        # Ending what --keep kept is not a failure.
        return finished[0] if finished else EXIT_SIGNAL + signalled.number
    return finished[0]


async def _demo(options: Options, console: Console, finished: list[int]) -> None:
    """Run the demo; `finished` gets the exit status as soon as it is known."""
    started = time.monotonic()
    run = Run(options.seed, Books(ARMS, time.monotonic))
    run.pids["client"] = os.getpid()
    async with contextlib.AsyncExitStack() as stack:
        _head(console, f"Training three models on scikit-learn's handwritten digits (seed {options.seed})")
        stubs = await _train(options, run, console)
        configuration.write(options.folder, options.ports)
        clients = await _clients(options, stubs, stack)
        services = Services(options, clients.gateway, clients.server_states, run)
        stack.push_async_callback(services.end)
        _head(console, "Starting the model server and the gateway")
        await services.start()
        _addresses(options.ports, run, console)
        async with asyncio.TaskGroup() as tasks:
            guarding = tasks.create_task(services.guard(), name="guard")
            deadline = started + options.max_seconds
            await experiment.until_running(run, clients, console, deadline)
            _head(console, "Sending held-out images, and a reward for each answer")
            await experiment.conduct(run, clients, options, console, deadline)
            guarding.cancel()
        run.duration_s = time.monotonic() - started
        finished.append(_conclude(options, run, console))
        if options.is_kept:
            console.print("Everything is left running until Ctrl-C (or SIGTERM):", style="bold")
            _addresses(options.ports, run, console)
            await asyncio.Event().wait()


def _head(console: Console, words: str) -> None:
    console.print(words, style="bold", highlight=False)


async def _train(options: Options, run: Run, console: Console) -> ModuleType:
    """Train, and import the official stubs meanwhile: both take their time, and there are two cores."""
    async with asyncio.TaskGroup() as tasks:
        trained = tasks.create_task(
            training.train(options.folder, options.seed, console, options.max_seconds), name="training"
        )
        stubs = tasks.create_task(asyncio.to_thread(_import_stubs, options.folder.logs), name="stubs")
    run.trained = trained.result()
    return stubs.result()


def _import_stubs(logs: Path) -> ModuleType:
    """Import the official stubs, and with them TensorFlow; its greetings go to a log."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logs.mkdir(parents=True, exist_ok=True)
    before = os.dup(2)
    try:
        with (logs / "client.log").open("ab") as log:
            os.dup2(log.fileno(), 2)
        return importlib.import_module("load.demo.stubs")
    finally:
        os.dup2(before, 2)
        os.close(before)


async def _clients(options: Options, stubs: ModuleType, stack: contextlib.AsyncExitStack) -> Clients:
    """Open what the demo talks to both services with; closed by `stack`."""
    ports = options.ports
    with np.load(options.folder.held_out) as held_out:
        pixels, digits = held_out["pixels"], held_out["digits"]
    # No limit of its own: the traffic bounds what is in flight.
    connector = aiohttp.TCPConnector(limit=0)
    session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
    entry = stubs.open_channel(ports.grpc)
    server = stubs.open_channel(ports.model_grpc)
    for channel in (entry, server):
        stack.push_async_callback(channel.close)
    http_url = f"http://127.0.0.1:{ports.http}"
    gateway = Gateway(session, ports)

    async def is_back() -> bool:
        return await gateway.is_ready() and bool(await stubs.is_connected(entry))

    return Clients(
        gateway=gateway,
        senders=(stubs.GrpcSender(entry, pixels), RestSender(session, http_url, pixels)),
        rewards=RewardSender(session, http_url),
        server_states=stubs.ModelServer(server).states,
        digits=digits,
        is_back=is_back,
    )


def _addresses(ports: Ports, run: Run, console: Console) -> None:
    for line in (
        f"  gateway       gRPC 127.0.0.1:{ports.grpc}, REST http://127.0.0.1:{ports.http}, "
        f"admin http://127.0.0.1:{ports.admin}, pid {run.pids['gateway']}",
        f"  model server  gRPC 127.0.0.1:{ports.model_grpc}, REST http://127.0.0.1:{ports.model_rest}, "
        f"pid {run.pids['model_server']}",
    ):
        console.print(line, highlight=False, soft_wrap=True)


def _conclude(options: Options, run: Run, console: Console) -> int:
    """Write the JSON and the pictures, show the report, say what is missing; return the exit status."""
    folder = options.folder
    found = msgspec.json.format(msgspec.json.encode(document(run)), indent=2) + b"\n"
    folder.report.write_bytes(found)
    if options.json_path is not None:
        options.json_path.write_bytes(found)
    picture.draw(run, (folder.svg, folder.png))
    report.show(run, console)
    _head(console, f"\nPicture {folder.png} and {folder.svg.name}, numbers {folder.report}, logs {folder.logs}")
    for event in run.events:
        console.print(f"note: {event}", style="yellow", highlight=False, soft_wrap=True)
    lacking = missing(run)
    for what in lacking:
        _complain(console, what)
    if not lacking:
        _head(console, f"Done in {run.duration_s:.0f} s, training included.")
    return EXIT_FAILED if lacking else EXIT_OK
