"""The model servers of a story, each a process that stands for a cloud; their own words are the proof of what is loaded."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import grpc
import grpc.aio

from load.demo import processes
from load.demo.plan import MODEL
from load.demo.processes import Child
from load.demo.senders import TIMEOUT_S
from serving import wire

# Importing TensorFlow and loading takes 4-8 s on a quiet machine; ten times as much is a fault.
_START_S = 120.0
_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    # A server that was started again is found within a second.
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Channels to a server and to the gateway never share a connection.
    ("grpc.use_local_subchannel_pool", 1),
)
_CHANGE = re.compile(
    r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) .*model (\S+) version (\d+): (LOADING|AVAILABLE|UNLOADING|END)$"
)


def open_channel(port: int) -> grpc.aio.Channel:
    """Open a channel to a port of this machine."""
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_OPTIONS)


@dataclass(frozen=True, slots=True)
class Change:
    """A line of the server's log: when (unix s) which version came to which state."""

    at: float
    version: int
    state: str


def changes(log: str) -> list[Change]:
    """Read what a model server's log says of our model's versions, the oldest first."""
    found = [_CHANGE.match(line) for line in log.splitlines()]
    return [
        Change(datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp(), int(match[3]), match[4])
        for match in found
        if match is not None and match[2] == MODEL
    ]


class Server:
    """One model server. Mutable: its process, which may be killed and started again."""

    def __init__(self, backend: str, ports: tuple[int, int], config: Path, log: Path, loads: Sequence[int]) -> None:
        """`config` is its models.config, `loads` the versions in it."""
        self.backend = backend
        self._ports = ports
        self._config = config
        self._log = log
        self._loads = tuple(loads)
        self._child: Child | None = None
        self._channel = open_channel(ports[0])
        self._status = self._channel.unary_unary(wire.GET_MODEL_STATUS)

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._child is not None  # noqa: S101 started before
        return self._child.pid

    async def start(self) -> None:
        """Start it and wait until all is loaded; raises ChildFailed."""
        self._child = await processes.start(
            f"the model server {self.backend}",
            processes.turpin(
                "model-server",
                "--host=127.0.0.1",
                f"--port={self._ports[0]}",
                f"--rest_api_port={self._ports[1]}",
                f"--model_config_file={self._config}",
                # As in the main demo: handing operations to threads costs small models more than they take.
                "--tensorflow_intra_op_parallelism=1",
                "--tensorflow_inter_op_parallelism=-1",
            ),
            self._log,
        )
        await processes.until(self._child, self._is_loaded, _START_S)

    async def kill(self) -> None:
        """End it at once, as a cloud goes away: SIGKILL."""
        assert self._child is not None  # noqa: S101 started before
        self._child.process.kill()
        await self._child.process.wait()

    async def end(self) -> None:
        """End it in order, if it runs."""
        if self._child is not None:
            await processes.end(self._child)
        await self._channel.close()

    async def states(self) -> dict[int, str]:
        """Return GetModelStatus: every version's state; {} while it does not answer."""
        request = wire.GetModelStatusRequest(model_spec={"name": MODEL}).SerializeToString()
        try:
            answer = wire.GetModelStatusResponse.FromString(await self._status(request, timeout=TIMEOUT_S))
        except grpc.aio.AioRpcError:
            return {}
        return {one.version: wire.STATE_NAMES[one.state] for one in answer.model_version_status}

    def changes(self) -> list[Change]:
        """Return what its log says of versions coming and going, the oldest first."""
        return changes(self._log.read_text(encoding="utf-8", errors="replace"))

    def first(self, version: int, state: str, since: float = 0.0) -> float | None:
        """Return when, by its log, a version first came to a state at or after `since` (unix s); None if it did not."""
        return next(
            (one.at for one in self.changes() if (one.version, one.state) == (version, state) and one.at >= since), None
        )

    async def _is_loaded(self) -> bool:
        states = await self.states()
        return all(states.get(version) == "AVAILABLE" for version in self._loads)
