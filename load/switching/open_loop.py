"""A sender that keeps to its rate whatever the gateway does: who waits for answers before asking again hides every pause."""

import abc
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


class EvenLoop(abc.ABC):
    """Asks at even distances, whatever comes of it. Mutable: the calls so far, in the order of their answers."""

    def __init__(self, rate: float, now: Callable[[], float], under_way_max: int) -> None:
        """`rate` in requests per second; `now` in seconds. Beyond `under_way_max` the sender itself is what is slow."""
        self._rate, self._now, self._under_way_max = rate, now, under_way_max
        self._under_way = 0
        self.calls: list[Call] = []
        self.is_over = False

    @abc.abstractmethod
    async def _ask(self) -> tuple[str, str]:
        """Ask once; return which arm answered, and the error in an answer's place."""

    async def run(self) -> None:
        """Send until `is_over` is set, and wait for what is under way."""
        began, sent = self._now(), 0
        async with asyncio.TaskGroup() as tasks:
            while not self.is_over:
                while (due_at := began + sent / self._rate) <= self._now():
                    sent += 1
                    if self._under_way < self._under_way_max:
                        self._under_way += 1
                        tasks.create_task(self._one(due_at))
                    else:
                        self.calls.append(Call(due_at, 0.0, "", "not sent: too many under way"))
                await asyncio.sleep(due_at - self._now())

    async def _one(self, due_at: float) -> None:
        arm, error = await self._ask()
        self.calls.append(Call(due_at, self._now() - due_at, arm, error))
        self._under_way -= 1


class OpenLoop(EvenLoop):
    """Sends one and the same Predict at even distances."""

    def __init__(self, channel: grpc.aio.Channel, body: bytes, rate: float, now: Callable[[], float]) -> None:
        """`body` is a serialised PredictRequest, `rate` in requests per second."""
        super().__init__(rate, now, _UNDER_WAY_MAX)
        self._call, self._body = channel.unary_unary(wire.PREDICT), body

    async def _ask(self) -> tuple[str, str]:
        call = self._call(self._body, timeout=_TIMEOUT_S)
        try:
            await call
            metadata = dict(await call.trailing_metadata())
        except grpc.aio.AioRpcError as refused:
            return "", f"{refused.code().name}: {refused.details()}"
        return str(metadata.get("turpin-arm", "")), ""
