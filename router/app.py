"""The composition root: builds the processes of `turpin serve` and says in which order they start and stop.

One control process (leader, admin, metrics of all) and N workers (the data plane), so that arithmetic never delays a
prediction; with `--single`, or the store `memory:`, both in one process. Here, and in worker.py, the clock is bound.

Workers are started first, and load what they need while this process loads the control plane.
"""

import asyncio
import contextlib
import importlib
import os
import pickle
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import structlog
import uvloop

from router import garbage, preemption
from router.aggregate import Aggregate
from router.capture.shelf import Shelf
from router.clock import unix_now, wanted_s
from router.config import Config
from router.config.fields import split_address
from router.fronts.envoy import start as envoy
from router.fronts.envoy.bootstrap import Files, Settings
from router.keys import decision_keys
from router.link import Configure, Order
from router.logs import configure_logs
from router.metrics import Metrics
from router.ports import take
from router.store import Store, StoreError, open_store
from router.supervisor import WORKER, Supervisor, WorkerFailed

if TYPE_CHECKING:
    from router.data_plane import Ports

log = structlog.get_logger(__name__)

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1


def serve(config: Config, *, workers: int, is_single: bool) -> int:
    """Run the gateway until SIGTERM or SIGINT; return the exit code."""
    configure_logs()
    _allow_files()
    for line in config.unused():
        log.warning("setting without effect", setting=line)
    if config.front == "envoy" and (reason := envoy.missing()):
        sys.stderr.write(f"turpin: {reason}\n")
        return EXIT_FAILED
    is_single = is_single or config.store.startswith("memory:")
    reasons: list[str] = []
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(config, workers=workers, is_single=is_single))
    except* (OSError, StoreError, ValueError, WorkerFailed) as group:
        reasons = [str(error) for error in _leaves(group)]
    for reason in dict.fromkeys(reasons):
        sys.stderr.write(f"turpin: {reason}\n")
    return EXIT_FAILED if reasons else EXIT_OK


def _allow_files() -> None:
    """Open as many files as we may, and our workers with us: a soft limit of 1,024, as systemd sets it, is as many
    connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        # A system may bound it by more than it says.
        log.warning("limit of open files stays as it is", limit=soft, reason=str(error))


async def _serve(config: Config, *, workers: int, is_single: bool) -> None:
    stop = _stop_of(asyncio.get_running_loop())
    keys = decision_keys(config)
    store = open_store(config.store, durability=config.durability, memory=config.memory_folder())
    await store.open()
    try:
        async with contextlib.AsyncExitStack() as stack:
            metrics, aggregate = Metrics(), Aggregate()
            shelf = Shelf(unix_now, workers=1 if is_single else workers)
            gateway: _Single | _Many
            if is_single:
                await _look_at_ports(config)
                gateway = _Single(config, store, keys, metrics, shelf)
            else:
                gateway = _Many(await _take_ports(config, stack), keys, workers, aggregate, shelf, stack)
            admin_port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            # Loaded in a thread: the loop starts the workers meanwhile.
            loading = asyncio.get_running_loop().run_in_executor(None, importlib.import_module, "router.control_plane")

            async def run_control() -> None:
                await loading
                from router.control_plane import run

                await run(
                    config,
                    store=store,
                    aggregate=aggregate,
                    metrics=metrics,
                    shelf=shelf,
                    unix_now=unix_now,
                    is_ready=lambda: gateway.is_ready,
                    tell=gateway.tell,
                    on_listening=admin_port.set_result,
                )

            async with asyncio.TaskGroup() as tasks:
                control = tasks.create_task(run_control(), name="control plane")
                await gateway.run(stop=stop, admin_port=admin_port)
                control.cancel()
    finally:
        await store.close()
    if loading.cancelled():
        # Told to end while it loaded. A thread that imports can't be stopped, and Python would wait for it.
        sys.stderr.flush()
        os._exit(EXIT_OK)


def _stop_of(loop: asyncio.AbstractEventLoop) -> asyncio.Event:
    """Return what is set when the process is told to end."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _take_ports(config: Config, stack: contextlib.AsyncExitStack) -> Config:
    """Take the clients' ports until the stack is left; return the configuration with their numbers."""
    grpc, held = await take(config.listen.grpc)
    stack.enter_context(held)
    http, held = await take(config.listen.http)
    stack.enter_context(held)
    return config.model_copy(update={"listen": config.listen.model_copy(update={"grpc": grpc, "http": http})})


async def _look_at_ports(config: Config) -> None:
    """Refuse ports in use in the same words, where nobody else is to listen beside us."""
    async with contextlib.AsyncExitStack() as briefly:
        await _take_ports(config, briefly)


class _Single:
    """The data plane in this process."""

    def __init__(
        self,
        config: Config,
        store: Store,
        keys: tuple[tuple[str, bytes], ...],
        metrics: Metrics,
        shelf: Shelf,
    ) -> None:
        from router.data_plane import DataPlane
        from router.decisions import Keyring

        self._shelf = shelf
        self._plane = DataPlane(
            config,
            store=store,
            keys=Keyring(keys),
            metrics=metrics,
            unix_now=unix_now,
            is_shared=False,
            wanted_s=wanted_s,
        )
        self.is_ready = False

    async def tell(self, order: Order) -> None:
        """Have the data plane obey."""
        self._plane.obey(order)

    async def run(self, *, stop: asyncio.Event, admin_port: asyncio.Future[int]) -> None:
        """Serve until `stop`."""

        def on_ready(ports: "Ports") -> None:
            garbage.settle()
            self.is_ready = True
            _say_ready(ports.grpc, ports.http, admin_port)

        async with asyncio.TaskGroup() as tasks:
            beside = (
                tasks.create_task(self._take_captures(), name="take captures"),
                tasks.create_task(preemption.follow(), name="threads that interrupt one another"),
            )
            await self._plane.run(on_ready=on_ready, stop=stop)
            for task in beside:
                task.cancel()

    async def _take_captures(self) -> None:
        while True:
            self._shelf.take(await self._plane.captor.next())


class _Many:
    """The data plane in worker processes."""

    def __init__(
        self,
        config: Config,
        keys: tuple[tuple[str, bytes], ...],
        workers: int,
        aggregate: Aggregate,
        shelf: Shelf,
        stack: contextlib.AsyncExitStack,
    ) -> None:
        """What workers need on disk is there until the stack is left."""
        self._ports = (split_address(config.listen.grpc)[1], split_address(config.listen.http)[1])
        command = _worker(config, stack)
        self._supervisor = Supervisor(
            Configure(pickle.dumps(config), keys), workers, aggregate, on_captured=shelf.take, command=command
        )

    @property
    def is_ready(self) -> bool:
        """Whether any worker serves."""
        return bool(self._supervisor.ready)

    async def tell(self, order: Order) -> None:
        """Have all workers obey."""
        await self._supervisor.tell(order)

    async def run(self, *, stop: asyncio.Event, admin_port: asyncio.Future[int]) -> None:
        """Keep the workers running until `stop`; they serve once the control plane listens."""
        admin_port.add_done_callback(lambda _: self._supervisor.begin())
        await self._supervisor.run(on_ready=lambda: _say_ready(*self._ports, admin_port), stop=stop)


def _worker(config: Config, stack: contextlib.AsyncExitStack) -> Sequence[str]:
    """Return what starts a worker; what an Envoy around it needs on disk is there until the stack is left."""
    if config.front == "grpc":
        return WORKER
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="turpin-envoy-"))
    host, port = split_address(config.listen.grpc)
    tls = config.tls.grpc
    files = None if tls is None else Files(tls.cert, tls.key, tls.client_ca)
    return envoy.command(Settings(folder, host, port, config.listen.connection_age, files))


def _say_ready(grpc: int, http: int, admin_port: asyncio.Future[int]) -> None:
    """Say so, once the control plane listens, too."""
    admin_port.add_done_callback(lambda admin: log.info("ready", grpc=grpc, http=http, admin=admin.result()))


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
