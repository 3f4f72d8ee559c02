"""The model server and the gateway as processes of their own: started in order, watched, ended in the reverse order."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from load.demo import processes
from load.demo.plan import PLANS, Options
from load.demo.processes import Child
from load.demo.result import Run
from load.demo.state import Gateway

# Importing TensorFlow and loading three models takes 4-8 s on a quiet machine; ten times as much is a fault.
_MODEL_SERVER_S = 120.0
# Ready in 0.4-0.7 s on a quiet machine.
_GATEWAY_S = 30.0
# A gateway that was killed may be started again by whoever killed it; after this long the demo does it.
_LEFT_DOWN_S = 5.0
# A gateway that keeps ending has a fault that starting it again won't cure.
_RESTARTS_MAX = 3

States = Callable[[], Awaitable[dict[int, str]]]


class Services:
    """Both processes of a demo. Mutable: the gateway's, as it may be started again."""

    def __init__(self, options: Options, gateway: Gateway, server_states: States, run: Run) -> None:
        """`server_states` asks the model server for its versions; process ids are written into `run`."""
        self._options = options
        self._asked = gateway
        self._server_states = server_states
        self._run = run
        self._model_server: Child | None = None
        self._gateway: Child | None = None

    async def start(self) -> None:
        """Start the model server, then the gateway; raises ChildFailed."""
        ports, folder = self._options.ports, self._options.folder
        self._model_server = await processes.start(
            "the model server",
            processes.turpin(
                "model-server",
                "--host=127.0.0.1",
                f"--port={ports.model_grpc}",
                f"--rest_api_port={ports.model_rest}",
                f"--model_config_file={folder.model_config}",
                # For models of under a millisecond: handing operations to threads costs more than they take, and makes
                # the small CNN look twice as dear as the linear model. Two calls still use two cores.
                "--tensorflow_intra_op_parallelism=1",
                "--tensorflow_inter_op_parallelism=-1",
            ),
            folder.logs / "model-server.log",
        )
        self._run.pids["model_server"] = self._model_server.pid
        await processes.until(self._model_server, self._is_loaded, _MODEL_SERVER_S)
        await self._start_gateway()

    async def guard(self) -> None:
        """Watch both: start a gateway again that has ended; raises ChildFailed for what can't be helped."""
        assert self._model_server is not None  # noqa: S101 started before
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._guard_model_server(self._model_server), name="guard the model server")
            tasks.create_task(self._guard_gateway(), name="guard the gateway")

    async def end(self) -> None:
        """End what runs, the gateway first: it finishes what is in flight at the model server."""
        for child in (self._gateway, self._model_server):
            if child is not None:
                await processes.end(child)

    async def _is_loaded(self) -> bool:
        states = await self._server_states()
        return all(states.get(plan.version) == "AVAILABLE" for plan in PLANS)

    async def _start_gateway(self) -> None:
        folder = self._options.folder
        self._gateway = await processes.start(
            "the gateway", processes.turpin("serve", "-c", str(folder.config)), folder.logs / "gateway.log"
        )
        self._run.pids["gateway"] = self._gateway.pid
        await processes.until(self._gateway, self._asked.is_ready, _GATEWAY_S)

    async def _guard_model_server(self, child: Child) -> None:
        status = await child.process.wait()
        raise child.failure(f"ended with {status}")

    async def _guard_gateway(self) -> None:
        child = self._gateway
        for _ in range(_RESTARTS_MAX):
            assert child is not None  # noqa: S101 started before
            status = await child.process.wait()
            ended = f"the gateway (pid {child.pid}) ended with {status}"
            if await self._is_back():
                self._run.events.append(f"{ended}; somebody else started it again")
                return
            processes.clear(child)
            await self._start_gateway()
            child = self._gateway
            self._run.events.append(f"{ended}; the demo started it again")
        assert child is not None  # noqa: S101 started before
        status = await child.process.wait()
        raise child.failure(f"ended with {status}, having been started again {_RESTARTS_MAX} times")

    async def _is_back(self) -> bool:
        """Wait whether somebody else starts the gateway again."""
        deadline = time.monotonic() + _LEFT_DOWN_S
        while time.monotonic() < deadline:
            if await self._asked.is_ready():
                return True
            await asyncio.sleep(processes.LOOK_S)
        return False
