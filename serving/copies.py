"""Calls beside the traffic: a copy of a request goes to a backend only while that has room to spare.

It takes nothing from a request: no place in the queue and no slot; nothing is learned of the replica by it, and whether it
was answered says nothing about the replica's health. Its time is metered, since somebody pays for it.
"""

from collections.abc import Callable

from serving import methods, wire
from serving.batcher import Batcher
from serving.calls import Calls, Copied
from serving.upstream import Servable


class Copies:
    """Makes the copies' calls of one backend."""

    def __init__(self, batcher: Batcher, calls: Calls, clock: Callable[[], float]) -> None:
        self._batcher, self._calls, self._clock = batcher, calls, clock

    async def send(
        self,
        servable: Servable,
        request: wire.Message,
        timeout_s: float,
        *,
        on_sent: Callable[[], None] = lambda: None,
    ) -> Copied | None:
        """Call the servable with a PredictRequest, which is ours from now on; None, at once, when the backend has no room:
        something waits there, every slot is taken, or a probe is measured.
        """
        replica = self._batcher.spare(self._clock())
        if replica is None:
            return None
        servable.write_to(request.model_spec)
        on_sent()
        with self._batcher.replicas.copying(replica):
            return await self._calls.copy(replica, methods.PREDICT, request.SerializeToString(), timeout_s)
