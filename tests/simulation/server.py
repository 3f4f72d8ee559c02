"""A model server in virtual time: tests/serving/fake_tfs.py without a network, with calls that hang or find nobody."""

import asyncio
import random
from typing import Final

from serving import wire
from serving.errors import DeadlineExceeded, Unavailable
from tests.router.control.servers import Direct, fake_tfs

# Seconds of a call: a + b·rows, by version; the first costs most.
LINES: Final = {1: (0.004, 0.0004), 2: (0.003, 0.0003), 3: (0.002, 0.0002)}


class Server(Direct):
    """Mutable: the share of predictions that find nobody, and of those that hang."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(fake_tfs(lines=LINES), "tfs:1")
        self._rng = rng
        self.unreached = 0.0
        self.hanging = 0.0

    async def call(self, method: str, body: bytes, timeout_s: float) -> bytes:
        """Answer, as a network may."""
        self.methods.clear()
        if method == wire.PREDICT:
            kind = self._rng.random()
            if kind < self.unreached:
                raise Unavailable("nobody there")
            if kind < self.unreached + self.hanging:
                await asyncio.sleep(timeout_s)
                raise DeadlineExceeded("no answer", stage="backend")
        return await super().call(method, body, timeout_s)
