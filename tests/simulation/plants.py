"""Stores with a fault of their own, each against one law: to see that it would be found."""

from collections.abc import Sequence

from router.store import Entry, Reward, RewardResult
from router.store.memory import MemoryStore


class Forgetful(MemoryStore):
    """Counts a reward each time it comes."""

    async def add_rewards(self, rewards: Sequence[Reward]) -> list[RewardResult]:
        for reward in rewards:
            self._known.pop((reward.nonce, reward.event), None)
        return await super().add_rewards(rewards)


class Careless(MemoryStore):
    """Counts a flush each time it comes."""

    async def flush(self, gateway: str, *rest: object) -> None:
        self._gateways.pop(gateway, None)
        await super().flush(gateway, *rest)  # type: ignore[arg-type]


class Lawless(MemoryStore):
    """Asks nobody for the lease."""

    async def publish(self, name: str, version: int, snapshot: bytes, fence: int) -> None:
        self._snapshots[name] = (version, snapshot)

    async def save_experiment(
        self, name: str, document: bytes, expected_revision: int, fence: int | None, entries: Sequence[Entry] = ()
    ) -> int:
        return await super().save_experiment(name, document, expected_revision, None, entries)


class Lossy(MemoryStore):
    """Acknowledges a reward in a hundred without counting it."""

    _calls = 0

    async def add_rewards(self, rewards: Sequence[Reward]) -> list[RewardResult]:
        self._calls += 1
        if self._calls % 100 == 0:
            return [RewardResult.RECORDED] * len(rewards)
        return await super().add_rewards(rewards)
