"""Conversions over a real gateway: each lands in its decision's block and its part of the window, however late it comes."""

import asyncio
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from bandits import delay_bins
from router.decisions import Mode
from tests.system.client import Client, Refusal, token_fields
from tests.system.gateway import Gateway, configuration, experiment, serving, until
from tests.system.model_server import DigitsServer
from tests.system.traffic import Nature

WINDOW_S: Final = 6.0
# Version 2 converts most, and a second and a half later than the others.
RATES: Final = {1: 0.3, 2: 0.6, 3: 0.3}
LATE_S: Final = {1: 0.0, 2: 1.5, 3: 0.0}
CLIENTS: Final = 8


@dataclass(slots=True)
class Shoppers:
    """Clients that report conversions alone. Mutable: all of the books."""

    client: Client
    nature: Nature = field(default_factory=lambda: Nature(RATES, seed=3))
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    # Conversions that were acknowledged, by (arm, block) of their decisions, where they were the experiment's.
    learned: Counter[tuple[int, int]] = field(default_factory=Counter)
    acknowledged: int = 0
    postponed: int = 0  # sent in vain, while the store was away

    async def run(self) -> None:
        """Go on until `stop` is set and every conversion has been reported."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(CLIENTS):
                tasks.create_task(self._one(tasks))

    async def _one(self, tasks: asyncio.TaskGroup) -> None:
        while not self.stop.is_set():
            answer = await self.client.predict()
            if answer.decision and self.nature.reward(answer.version):
                tasks.create_task(self._convert(answer.decision, LATE_S[answer.version]))

    async def _convert(self, decision: str, late_s: float) -> None:
        await asyncio.sleep(late_s)
        await until("an acknowledgement", lambda: self._is_acknowledged(decision))
        self.acknowledged += 1
        fields = token_fields(decision)
        if Mode(fields["mode"]).is_learned:
            self.learned[fields["arm"], fields["block"]] += 1

    async def _is_acknowledged(self, decision: str) -> bool:
        try:
            return await self.client.reward(decision, 1.0) in (202, 200)
        except Refusal as refusal:
            # On a busy machine a commit may take longer than the gateway waits: send it again.
            if refusal.code != 503:
                raise
            self.postponed += 1
            return False


def cells(folder: Path) -> list[dict[str, Any]]:
    """Return the stored sums of all blocks of time."""
    with sqlite3.connect(folder / "turpin.db") as store:
        store.row_factory = sqlite3.Row
        return [dict(row) for row in store.execute("SELECT * FROM sums WHERE block > 0")]


async def forgotten(client: Client) -> str:
    """Return the token of a decision that is learned from, whose conversion is reported too late."""

    async def one() -> str:
        decision = (await client.predict()).decision
        return decision if decision and Mode(token_fields(decision)["mode"]).is_learned else ""

    found: str = await until("a decision of the experiment", one)
    return found


@pytest.mark.timeout(90)
async def test_slow_conversions_are_waited_for_and_win(tmp_path: Path) -> None:
    told = {"value_usd": 1e-6, "reward": {"window": f"{WINDOW_S:g}s", "feedback": "conversions"}}
    settings = {"experiments": [experiment(objective=told)]}
    async with (
        DigitsServer() as server,
        # One process: several wait for each other's commits, and on a busy disk some for longer than the window.
        serving(tmp_path, configuration(tmp_path, server.address, **settings), "--single") as gateway,
        Client.to(gateway) as client,
    ):
        await gateway.in_phase("running")
        late = await forgotten(client)
        shoppers = Shoppers(client)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(shoppers.run())
            midway = await until("200 conversions of v2", lambda: _when(gateway, 1, 200))
            concluded = await gateway.in_phase("concluded", patience_s=60.0)
            shoppers.stop.set()
        with pytest.raises(Refusal, match="410"):
            await client.reward(late, 1.0)
        state = await until("no reward pending, and the late one seen", lambda: _at_rest(gateway))
        samples = await gateway.scrape()
        await gateway.stop()

    _check_cells(tmp_path, shoppers)
    assert midway["arms"][1]["pending"] > 0
    assert midway["arms"][1]["delay"]["arrived"] < 1.0
    assert (concluded["outcome"], concluded["winner"]) == ("replaced", "v2")
    # Nothing ends before five blocks, the first of them short, are older than the window.
    assert concluded["age_s"] > WINDOW_S
    delays = [arm["delay"]["mean_s"] for arm in state["arms"]]
    assert 1.4 < delays[1] < 2.0
    assert max(delays[0], delays[2]) < 0.7
    assert sum(arm["rewards"] for arm in state["arms"]) == shoppers.acknowledged
    assert samples['turpin_reward_delay_seconds_count{experiment="digits"}'] == shoppers.acknowledged
    assert samples['turpin_rewards_total{result="late"}'] == 1.0
    assert [samples[f'turpin_pending_rewards{{arm="v{n}",experiment="digits"}}'] for n in (1, 2, 3)] == [0.0] * 3


async def _when(gateway: Gateway, arm: int, rewards: int) -> dict[str, Any] | None:
    state = await gateway.state()
    return state if state and state["arms"][arm]["rewards"] >= rewards and state["arms"][arm]["delay"] else None


async def _at_rest(gateway: Gateway) -> dict[str, Any] | None:
    state = await gateway.state()
    arms = state.get("arms", [])
    return state if arms and not any(arm["pending"] for arm in arms) and sum(arm["late"] for arm in arms) == 1 else None


def _check_cells(folder: Path, shoppers: Shoppers) -> None:
    """Compare the stored sums with the shoppers' books."""
    found = {(cell["arm"], cell["block"]): cell for cell in cells(folder)}
    assert {place: cell["rewards"] for place, cell in found.items() if cell["rewards"]} == dict(shoppers.learned)
    first_late = delay_bins.bin_of(LATE_S[2], WINDOW_S)
    misplaced = 0
    for (arm, _), cell in found.items():
        bins = [cell[name] for name in delay_bins.FIELDS]
        assert sum(bins) == cell["rewards"]
        misplaced += sum(bins[first_late:]) if arm != 1 else 0
        assert arm != 1 or sum(bins[:first_late]) == 0
    # What the store could not take at once came as late as it was taken.
    assert misplaced <= shoppers.postponed
