"""Callers that route themselves get arms from the client, and their rewards are learned as any others."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

import turpin
from tests.system.client import token_fields
from tests.system.gateway import configuration, endless, serving, until
from tests.system.model_server import MODEL, DigitsServer

CALLS = 90


async def learned(client: turpin.AsyncClient) -> bool:
    return bool((await client.decide(MODEL)).document["learned"])


@pytest.mark.timeout(60)
async def test_decisions_of_the_client_are_counted_and_their_rewards_learned(tmp_path: Path) -> None:
    async with DigitsServer() as server:
        settings = configuration(tmp_path, server.address, experiments=[endless()])
        settings["listen"]["decide"] = True
        async with serving(tmp_path, settings, "--workers", "2") as gateway:
            await gateway.in_phase("running")
            client = turpin.AsyncClient(
                f"http://127.0.0.1:{gateway.admin}", data_url=f"http://127.0.0.1:{gateway.http}"
            )
            await until("weights on all workers", lambda: learned(client))
            before = {arm["name"]: arm["decisions"] for arm in (await gateway.state())["arms"]}
            decisions = [await client.decide(MODEL) for _ in range(CALLS)]
            async with asyncio.TaskGroup() as tasks:
                recorded = [tasks.create_task(client.reward(one, 1.0)) for one in decisions]
            chosen = Counter(one.arm for one in decisions if one.document["learned"])

            async def is_counted() -> bool:
                arms = (await gateway.state())["arms"]
                return {arm["name"]: int(arm["rewards"]) for arm in arms} == {**dict.fromkeys(before, 0), **chosen}

            await until("all rewards", is_counted)
            arms = {arm["name"]: arm for arm in (await gateway.state())["arms"]}
            await gateway.stop()

    assert all(task.result().is_learned for task in recorded)
    assert sum(chosen.values()) == CALLS
    assert len(chosen) == 3
    for name, count in chosen.items():
        assert arms[name]["reward_sum"] == count
        assert arms[name]["decisions"] >= count
    assert {f"v{token_fields(one.token)['arm'] + 1}" for one in decisions} == set(chosen)
    assert {one.document["backend"] for one in decisions} == {"tfs-a"}
