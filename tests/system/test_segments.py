"""Two segments whose winners differ, through a whole gateway: each gets its own, and both stay loaded."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from serving import wire
from tests.system.client import Answer, Client, token_fields
from tests.system.gateway import configuration, experiment, serving, until
from tests.system.model_server import MODEL, DigitsServer

# In one segment version 1 is right more often, in the other version 2; version 3 in neither.
RATES = {"de": {1: 0.97, 2: 0.85, 3: 0.80}, "fr": {1: 0.85, 2: 0.97, 3: 0.80}}
PLACES = {"de": 1, "fr": 2}
WINNERS = {"de": "v1", "fr": "v2"}


@dataclass(slots=True)
class Callers:
    """Clients of both segments on both ports. Mutable: whether to stop, and how many rewards each (segment, arm) got."""

    client: Client
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    rewarded: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def ask(self, segment: str, *, is_rest: bool) -> Answer:
        """Predict for a segment, by header or by metadata; its token must say so."""
        answer = await (
            self.client.predict_rest(headers={"turpin-segment": segment})
            if is_rest
            else self.client.predict(metadata=[("turpin-segment", segment)])
        )
        assert token_fields(answer.decision)["segment"] == PLACES[segment]
        assert len(answer.decision) < 110
        return answer

    async def run(self, segment: str, seed: int, *, is_rest: bool) -> None:
        """Predict and reward until told to stop."""
        luck = random.Random(seed)
        while not self.stop.is_set():
            answer = await self.ask(segment, is_rest=is_rest)
            reward = float(luck.random() < RATES[segment][answer.version])
            assert await self.client.reward(answer.decision, reward) == 202
            self.rewarded[segment, answer.arm] += 1


@pytest.mark.timeout(60)
async def test_each_segment_gets_its_own_winner_and_both_stay_loaded(tmp_path: Path) -> None:
    declared = experiment(policy={"segments": ["de", "fr"]})
    async with (
        DigitsServer() as server,
        serving(tmp_path, configuration(tmp_path, server.address, workers=2, experiments=[declared])) as gateway,
        Client.to(gateway) as client,
    ):
        callers = Callers(client)
        # What is asked while arms warm is not the experiment's.
        await gateway.in_phase("running")
        async with asyncio.TaskGroup() as tasks:
            for number in range(8):
                segment = ("de", "fr")[number % 2]
                tasks.create_task(callers.run(segment, number, is_rest=number % 4 > 1))
            concluded = await gateway.in_phase("concluded", patience_s=45.0)
            callers.stop.set()

        async def settled() -> dict[str, set[str]] | None:
            found = {
                segment: {
                    (await callers.ask(segment, is_rest=is_rest)).arm for is_rest in (False, True) for _ in range(10)
                }
                for segment in RATES
            }
            return found if all(len(arms) == 1 for arms in found.values()) else None

        # A worker hears of the end up to a poll later than the admin port tells it.
        after = await until("one arm for each segment", settled, patience_s=5.0)

        async def counted() -> bool:
            found = {
                (one["name"], arm["name"]): arm["rewards"]
                for one in (await gateway.state())["segments"]
                for arm in one["arms"]
                if arm["rewards"]
            }
            return found == callers.rewarded

        await until("every reward in its segment", counted, patience_s=5.0)
        samples = await gateway.scrape()
        states = [server.state_of(MODEL, version) for version in (1, 2, 3)]
        await gateway.stop()

    assert after == {segment: {arm} for segment, arm in WINNERS.items()}
    assert {one["name"]: one["serves"] for one in concluded["segments"]} == {"other": concluded["winner"]} | WINNERS
    assert states == [wire.AVAILABLE, wire.AVAILABLE, wire.END]
    for segment, arm in WINNERS.items():
        label = f'{{arm="{arm}",experiment="{MODEL}",segment="{segment}"}}'
        assert samples[f"turpin_segment_arm_weight_ratio{label}"] == 1.0
