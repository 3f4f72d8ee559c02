"""A store that goes by a clock of its own, as a Redis does, whatever the gateways' clocks say."""

import asyncio

from router.store.contract import Deltas
from router.store.memory import MemoryStore
from tests.simulation.settings import START


class ServerClock(MemoryStore):
    """The store in memory, but for whose time it is."""

    async def flush(self, gateway: str, sequence: int, deltas: Deltas, heartbeat: bytes, now: float) -> None:
        await super().flush(gateway, sequence, deltas, heartbeat, _now())

    async def heartbeats(self, now: float, max_age_s: float) -> dict[str, bytes]:
        return await super().heartbeats(_now(), max_age_s)

    async def lease(self, owner: str, now: float, ttl_s: float) -> int | None:
        return await super().lease(owner, _now(), ttl_s)


def _now() -> float:
    return START + asyncio.get_running_loop().time()
