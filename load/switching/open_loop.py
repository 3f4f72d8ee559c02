"""A sender that keeps to its rate whatever the gateway does: who waits for answers before asking again hides every pause."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import grpc
import grpc.aio

from serving import wire

_TIMEOUT_S: Final = 10.0
# Beyond, the sender itself is what is slow: 20 s of 500 requests/s.
_UNDER_WAY_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Call:
    """One request: when it was due (s on the sender's clock), how long after that its answer came, and from which arm."""

    due_at: float
    seconds: float
    arm: str
    error: str = ""


class OpenLoop:
    """Sends one and the same Predict at even distances. Mutable: the calls so far, in the order of their answers."""

    def __init__(self, channel: grpc.aio.Channel, body: bytes, rate: float, now: Callable[[], float]) -> None:
        """`body` is a serialised PredictRequest, `rate` in requests per second."""
        self._call = channel.unary_unary(wire.PREDICT)
        self._body, self._rate, self._now = body, rate, now
        self._under_way = 0
        self.calls: list[Call] = []
        self.is_over = False

    async def run(self) -> None:
        """Send until `is_over` is set, and wait for what is under way."""
        began, sent = self._now(), 0
        async with asyncio.TaskGroup() as tasks:
            while not self.is_over:
                while (due_at := began + sent / self._rate) <= self._now():
                    sent += 1
                    if self._under_way < _UNDER_WAY_MAX:
                        self._under_way += 1
                        tasks.create_task(self._one(due_at))
                    else:
                        self.calls.append(Call(due_at, 0.0, "", "not sent: too many under way"))
                await asyncio.sleep(due_at - self._now())

    async def _one(self, due_at: float) -> None:
        call = self._call(self._body, timeout=_TIMEOUT_S)
        try:
            await call
            metadata = dict(await call.trailing_metadata())
            error, arm = "", str(metadata.get("turpin-arm", ""))
        except grpc.aio.AioRpcError as refused:
            error, arm = f"{refused.code().name}: {refused.details()}", ""
        self.calls.append(Call(due_at, self._now() - due_at, arm, error))
        self._under_way -= 1
