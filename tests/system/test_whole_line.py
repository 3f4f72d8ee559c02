"""The whole line: three versions of a model compete, one earns most, the others are unloaded from the model server."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from serving import wire
from tests.system.client import Client
from tests.system.gateway import configuration, serving
from tests.system.model_server import BYSTANDER, MODEL, DigitsServer
from tests.system.traffic import Nature, Traffic, counted

# Version 3 is right most often; but at $0.02 an hour and $1 for a million right answers, its rows cost 7 % of what a right
# answer is worth, those of the others next to nothing. Version 2 beats version 1 by more than the noise of a busy machine.
RATES = {1: 0.92, 2: 0.975, 3: 0.98}
LINES = {1: (0.001, 0.0002), 2: (0.001, 0.0002), 3: (0.001, 0.012)}
CLIENTS = 8


@pytest.mark.timeout(60)
@pytest.mark.parametrize("settings", [{"workers": 2}, {"store": "memory:"}], ids=["workers", "memory"])
async def test_losers_are_unloaded_and_every_reward_counts_once(tmp_path: Path, settings: dict[str, Any]) -> None:
    async with (
        DigitsServer(LINES) as server,
        serving(tmp_path, configuration(tmp_path, server.address, **settings)) as gateway,
        Client.to(gateway) as client,
    ):
        traffic = Traffic(client, Nature(RATES, seed=1))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(traffic.run(CLIENTS))
            concluded = await gateway.in_phase("concluded", patience_s=45.0)
            traffic.stop.set()
        state = await counted(gateway, traffic)
        log = await gateway.stop()

        assert traffic.failed == []
        assert traffic.refused == []
        assert traffic.undecided == 0
        assert (concluded["outcome"], concluded["winner"]) == ("replaced", "v2")
        assert [arm["state"] for arm in state["arms"]] == ["retired", "eligible", "retired"]
        assert [server.state_of(MODEL, version) for version in (1, 2, 3)] == [wire.END, wire.AVAILABLE, wire.END]
        assert [server.state_of(BYSTANDER, version) for version in (7, 8)] == [wire.AVAILABLE] * 2
        for reload in server.reloads:
            bystanders = [one for one in reload.model_config_list.config if one.name == BYSTANDER]
            assert [list(one.model_version_policy.specific.versions) for one in bystanders] == [[7, 8]]
        assert sum(arm["rewards"] for arm in state["arms"]) == sum(traffic.answers.values())
        assert "unavailable" not in log
