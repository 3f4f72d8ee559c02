"""grpc.health.v1 over Envoy: Check, and Watch, which goes on until its client leaves."""

import asyncio
from typing import Final

from grpc_health.v1 import health_pb2

from router.fronts.envoy.calls import Call
from router.fronts.envoy.messages import framed
from serving.errors import InternalError, ModelNotFound
from serving.grpc_server import HEALTH_NAMES

CHECK: Final = "/grpc.health.v1.Health/Check"
WATCH: Final = "/grpc.health.v1.Health/Watch"

_Status: Final = health_pb2.HealthCheckResponse
# A name, not a message.
BYTES_MAX: Final = 4096


class Health:
    """What is told to those who ask. Mutable: the status of all services, and an event of its next change."""

    def __init__(self) -> None:
        self._status = _Status.NOT_SERVING
        self._changed = asyncio.Event()

    def set(self, *, is_serving: bool) -> None:
        """Tell those who ask from now on, and those who watch."""
        self._status = _Status.SERVING if is_serving else _Status.NOT_SERVING
        self._changed.set()
        self._changed = asyncio.Event()

    def check(self, message: bytes) -> bytes:
        """Answer one question; ModelNotFound for a service that is not ours."""
        name = _service(message)
        if name not in HEALTH_NAMES:
            raise ModelNotFound(f"unknown service {name[:80]!r}")
        return bytes(_Status(status=self._status).SerializeToString())

    async def watch(self, message: bytes, call: Call) -> None:
        """Tell the status now and whenever it changes, until the task is cancelled."""
        is_known = _service(message) in HEALTH_NAMES
        while True:
            changed = self._changed
            status = self._status if is_known else _Status.SERVICE_UNKNOWN
            answer = framed(_Status(status=status).SerializeToString())
            await call.send({"type": "http.response.body", "body": answer, "more_body": True})
            await changed.wait()


def _service(message: bytes) -> str:
    try:
        return str(health_pb2.HealthCheckRequest.FromString(message).service)
    except ValueError as error:
        raise InternalError(f"no HealthCheckRequest: {error}") from error
