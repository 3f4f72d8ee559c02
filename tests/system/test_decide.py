"""Callers that route themselves get arms from the client, and their rewards are learned as any others."""

import functools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import turpin
from tests.system.client import token_fields
from tests.system.gateway import Gateway, configuration, endless, serving, until
from tests.system.model_server import MODEL, DigitsServer
from turpin.state import Decision

CALLS = 90


async def decided(gateway: Gateway) -> list[Decision]:
    """Ask as many processes would, each over connections of its own, so that all workers are asked."""
    client = turpin.AsyncClient(f"http://127.0.0.1:{gateway.admin}", data_url=f"http://127.0.0.1:{gateway.http}")
    return [await client.decide(MODEL) for _ in range(CALLS)]


async def all_learned(gateway: Gateway) -> bool:
    return all(one.document["learned"] for one in await decided(gateway))


@pytest.mark.timeout(60)
async def test_decisions_of_the_client_are_counted_and_their_rewards_learned(tmp_path: Path) -> None:
    async with DigitsServer() as server:
        settings = configuration(tmp_path, server.address, experiments=[endless()])
        settings["listen"]["decide"] = True
        async with serving(tmp_path, settings, "--workers", "2") as gateway:
            await gateway.in_phase("running")
            await until("weights on all workers", functools.partial(all_learned, gateway))
            decisions = await decided(gateway)
            client = turpin.AsyncClient(
                f"http://127.0.0.1:{gateway.admin}", data_url=f"http://127.0.0.1:{gateway.http}"
            )
            recorded = [await client.reward(one, 1.0) for one in decisions]
            chosen = Counter(one.arm for one in decisions)
            state: dict[str, Any] = {}

            async def is_counted() -> bool:
                state.update(await gateway.state())
                return {arm["name"]: int(arm["rewards"]) for arm in state["arms"]} == chosen

            try:
                await until("all rewards", is_counted)
            except AssertionError:
                raise AssertionError(f"chosen {chosen}, but {state['arms']}\n{gateway.log_file.read_text()}") from None
            await gateway.stop()

    assert all(one.is_learned for one in recorded)
    # Each with a third: that one of them is never chosen has a probability of (2/3)^90.
    assert set(chosen) == {"v1", "v2", "v3"}
    for arm in state["arms"]:
        assert arm["reward_sum"] == chosen[arm["name"]]
        assert arm["decisions"] >= chosen[arm["name"]]
    assert {f"v{token_fields(one.token)['arm'] + 1}" for one in decisions} == set(chosen)
    assert {one.document["backend"] for one in decisions} == {"tfs-a"}
