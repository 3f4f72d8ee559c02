"""Keeps examples of answered requests in a worker, as a capture wants them, until the control process takes them.

Nothing here is written down or logged: an example goes from memory to memory. Nobody waits for it, and what finds no room
is left out and counted.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Final

from router.capture.margin import margin
from router.capture.messages import BeginCapture, Captured, EndCapture, Example
from router.metrics import Metrics
from serving import wire

# A request with its answer: of as much as this, an image and more, a worker's loop copies and hashes one in 1.5 ms.
EXAMPLE_BYTES_MAX: Final = 1 << 20
# What may wait for the control process: it takes a frame in a moment. 8 MiB at most.
_WAITING_MAX: Final = 8
# After one that could not be kept the next is looked at this much of an interval later: who sends the same request for ever
# would have each of them copied and hashed.
_AGAIN_SHARE: Final = 0.1


class _Running:
    """One capture. Mutable: how many it has, when the next one may come, and which ones it has had."""

    def __init__(self, order: BeginCapture) -> None:
        self.order = order
        self.count = 0
        self.next_at = 0.0
        self.had: set[bytes] = set()


class Captor:
    """Mutable: the captures that run, and the examples that wait to be taken."""

    def __init__(self, metrics: Metrics, *, clock: Callable[[], float], unix_now: Callable[[], float]) -> None:
        """`clock` measures durations, in seconds."""
        self._metrics, self._clock, self._unix_now = metrics, clock, unix_now
        self._running: dict[str, _Running] = {}
        self._waiting: asyncio.Queue[Captured] = asyncio.Queue(_WAITING_MAX)

    @property
    def is_on(self) -> bool:
        """Whether anything is to be kept."""
        return bool(self._running)

    def obey(self, order: BeginCapture | EndCapture) -> None:
        """Begin or end a capture; one that runs goes on as it is."""
        if isinstance(order, EndCapture):
            self._running.pop(order.id, None)
        elif order.id not in self._running:
            self._running[order.id] = _Running(order)

    async def next(self) -> Captured:
        """Wait for an example."""
        return await self._waiting.get()

    def answered(self, experiment: str, arm: str, decision: str, request: wire.Message, answer: bytes) -> None:
        """Keep a Predict request that was answered with these bytes, for each capture that wants it."""
        now, unix_now = self._clock(), self._unix_now()
        for running in list(self._running.values()):
            order = running.order
            if unix_now >= order.until:
                del self._running[order.id]
            elif order.experiment == experiment and now >= running.next_at and (not order.arms or arm in order.arms):
                result = self._keep(running, Example(unix_now, arm, decision, None, b"", answer), request)
                if result:
                    self._metrics.captures.labels(experiment, result).inc()
                if result:
                    running.next_at = now + order.interval_s * (1.0 if result == "kept" else _AGAIN_SHARE)

    def _keep(self, running: _Running, example: Example, request: wire.Message) -> str:
        """Return what became of an example; nothing for one that is not asked for."""
        order = running.order
        if request.ByteSize() + len(example.response) > EXAMPLE_BYTES_MAX:
            return "large"
        response = wire.parse(wire.PredictResponse, example.response)
        nearest = None if order.margin_below is None else margin(response.outputs)
        if order.margin_below is not None and (nearest is None or nearest >= order.margin_below):
            return ""
        asked = _without(order.redact, request)
        digest = hashlib.blake2b(asked, digest_size=16).digest()
        if digest in running.had:
            return "repeated"
        for name in order.redact:
            response.outputs.pop(name, None)
        answer = bytes(response.SerializeToString()) if order.redact else example.response
        whole = Example(example.at, example.arm, example.decision, nearest, asked, answer)
        try:
            self._waiting.put_nowait(Captured(order.id, whole))
        except asyncio.QueueFull:
            return "dropped"
        running.had.add(digest)
        running.count += 1
        if running.count >= order.examples_max:
            del self._running[order.id]
        return "kept"


def _without(redact: Sequence[str], request: wire.Message) -> bytes:
    """Return what a model is asked, without some inputs, and without whatever else came along (such as a `client_id`)."""
    # Through bytes: a megabyte of floats is copied so in 0.1 ms, and in 2 ms from message to message.
    kept = wire.parse(wire.PredictRequest, request.SerializeToString())
    kept.DiscardUnknownFields()
    signature, inputs = kept.model_spec.signature_name, kept.inputs
    for name in redact:
        inputs.pop(name, None)
    for other in [field.name for field, _ in kept.ListFields() if field.name != "inputs"]:
        kept.ClearField(other)
    kept.model_spec.signature_name = signature
    return bytes(kept.SerializeToString(deterministic=True))
