"""Traffic as applications make it: predictions over both ports, each answer's reward sent until it is acknowledged."""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from tests.system.client import Answer, Client, Refusal, token_fields
from tests.system.gateway import Gateway, until

# Long enough not to spin while nobody listens, short against every start of a gateway.
_PAUSE_S: Final = 0.05
# Longer than any test lets a gateway be away, its own time limit included.
_AWAY_S: Final = 180.0


class Nature:
    """What a version's answers are worth: 1 with the version's own rate, drawn from a seed. Mutable: the generator."""

    def __init__(self, rates: Mapping[int, float], seed: int) -> None:
        self._rates, self._random = rates, random.Random(seed)

    def reward(self, version: int) -> float:
        """Draw the reward of an answer."""
        return float(self._random.random() < self._rates[version])


@dataclass(slots=True)
class Traffic:
    """A number of clients and what became of their calls. Mutable: all of the books, by decision token where they can.

    `owed` holds every reward from before it is sent until it is acknowledged, so that none is forgotten in a crash.
    """

    client: Client
    nature: Nature
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    is_away: bool = False  # the test knows that nobody listens: after its first failure a client waits
    answers: Counter[str] = field(default_factory=Counter)  # by arm, of decided requests
    undecided: int = 0
    failed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # rewards, for good
    owed: dict[str, float] = field(default_factory=dict)
    acknowledged: dict[str, float] = field(default_factory=dict)

    async def run(self, clients: int) -> None:
        """Go on until `stop` is set, then until no reward is owed."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(clients):
                tasks.create_task(self._one(is_rest=number % 2 == 1), name=f"client {number}")

    async def _one(self, *, is_rest: bool) -> None:
        mine: set[str] = set()
        while not self.stop.is_set() or mine:
            try:
                for decision in list(mine):
                    await self._reward(decision)
                    mine.remove(decision)
                if self.stop.is_set():
                    return
                answer = await (self.client.predict_rest() if is_rest else self.client.predict())
            except (Refusal, aiohttp.ClientError, TimeoutError) as error:
                if not mine:
                    self.failed.append(f"{'REST' if is_rest else 'gRPC'}: {error!r}")
                await asyncio.sleep(_PAUSE_S)
                # As long as the test lets it be away: the other gateway may end the experiment first.
                await until("the gateway's return", lambda: not self.is_away, patience_s=_AWAY_S)
                continue
            if self._take(answer):
                mine.add(answer.decision)

    def _take(self, answer: Answer) -> bool:
        """Check an answer against its token, and owe its reward."""
        if not answer.decision:
            self.undecided += 1
            return False
        assert answer.arm == f"v{answer.version}", answer
        assert token_fields(answer.decision)["arm"] == answer.version - 1, answer
        self.answers[answer.arm] += 1
        self.owed[answer.decision] = self.nature.reward(answer.version)
        return True

    async def _reward(self, decision: str) -> None:
        """Send a reward once; a refusal that sending again can't change is kept."""
        try:
            await self.client.reward(decision, self.owed[decision])
        except Refusal as refusal:
            if refusal.code in (429, 503):
                raise
            self.refused.append(str(refusal))
            del self.owed[decision]
            return
        self.acknowledged[decision] = self.owed.pop(decision)

    def acknowledged_of(self, arm: int) -> tuple[int, float]:
        """Return how many rewards of an arm were acknowledged, and their sum."""
        values = [value for decision, value in self.acknowledged.items() if token_fields(decision)["arm"] == arm]
        return len(values), sum(values)


async def counted(gateway: Gateway, traffic: Traffic) -> dict[str, Any]:
    """Wait until the gateway's sums are those of the acknowledged rewards, each once; return the state then.

    Its state is as old as the last refresh. A reward lost or counted twice makes this wait in vain.
    """
    wanted = [traffic.acknowledged_of(arm) for arm in range(3)]
    state: dict[str, Any] = {}

    async def is_equal() -> bool:
        state.update(await gateway.state())
        return [(arm["rewards"], arm["reward_sum"]) for arm in state["arms"]] == wanted

    try:
        await until("equal sums", is_equal, patience_s=5.0)
    except AssertionError:
        found = [(arm["rewards"], arm["reward_sum"]) for arm in state["arms"]]
        raise AssertionError(f"the gateway counts {found}, acknowledged were {wanted}") from None
    return state
