"""What carries the gRPC front's calls: grpc.aio in the gateway's own process, or an Envoy whose process it lives in."""

from collections.abc import Mapping
from typing import Any, Protocol

from serving.grpc_server import Handler


class Server(Protocol):
    """A server of unary calls on one port; serving.grpc_server.GrpcServer and fronts.envoy.server.EnvoyServer are two."""

    async def start(self, address: str, *, credentials: Any = None) -> int:
        """Listen on host:port and return the port; OSError."""
        ...

    async def set_serving(self, is_serving: bool) -> None:
        """Tell health checks whether to send requests here."""
        ...

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, and give those under way so long."""
        ...


class MakeServer(Protocol):
    """What makes one, inside the loop it will run in."""

    def __call__(
        self, routes: Mapping[str, Handler], *, message_bytes: int, is_port_shared: bool, connection_age_s: float
    ) -> Server:
        """`routes`: method path -> handler. `message_bytes`: largest request. `connection_age_s`: 0 is for ever."""
        ...
