"""The journal of a real gateway: every answer and every reward is in it, and a broken disk disturbs nobody."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from router.decisions import Mode
from router.journal.reading import read_journal
from tests.system.client import Client, token_fields
from tests.system.gateway import COMMAND, Gateway, configuration, endless, serving, until
from tests.system.model_server import MODEL, DigitsServer
from tests.system.traffic import Nature, Traffic

pytestmark = pytest.mark.timeout(60)

RATES = {1: 0.2, 2: 0.8, 3: 0.5}


async def played(gateway: Gateway, requests: int) -> Traffic:
    """Send requests and all their rewards, until so many were drawn: a worker may hear of the weights after the state."""
    async with Client.to(gateway) as client:
        await gateway.in_phase("running")
        traffic = Traffic(client, Nature(RATES, seed=7))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(traffic.run(8))
            await until("the requests", lambda: _drawn(traffic) >= requests)
            traffic.stop.set()
    return traffic


def _drawn(traffic: Traffic) -> int:
    """Return how many acknowledged rewards are of requests that the experiment drew."""
    return sum(token_fields(decision)["mode"] == Mode.EXPERIMENT for decision in list(traffic.acknowledged))


def replayed(folder: Path, policy: str) -> dict[str, Any]:
    done = subprocess.run(
        [COMMAND, "replay", "--journal", folder, "--policy", policy, "--json", "--force"],
        check=True,
        capture_output=True,
        timeout=20,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


async def test_every_answer_and_every_reward_is_in_the_journal(tmp_path: Path) -> None:
    async with DigitsServer() as server:
        settings = configuration(tmp_path, server.address, workers=2, experiments=[endless()])
        async with serving(tmp_path, settings) as gateway:
            traffic = await played(gateway, 300)
            scraped = await gateway.scrape()
            await gateway.stop()

    folder = tmp_path / "turpin.db.journal"
    records = await asyncio.to_thread(read_journal, folder)
    assert records.time.size + records.set_aside == traffic.answers.total()
    assert (records.reward == 1.0).sum() <= sum(traffic.acknowledged.values())
    assert not [name for name, count in scraped.items() if name.startswith("turpin_journal_dropped") and count]
    answer = await asyncio.to_thread(replayed, folder, "uniform")
    assert (answer["experiment"], answer["pending"], answer["unreadable"]) == (MODEL, 0, 0)
    assert not answer["refused"], answer["reason"]
    assert abs(answer["dr"] - sum(RATES.values()) / 3) < 4 * answer["dr_se"] + 1e-9
    assert answer["value_usd"] == 1e-6


async def test_a_folder_that_can_not_be_fails_no_request(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with DigitsServer() as server:
        settings = configuration(
            tmp_path, server.address, experiments=[endless()], journal={"folder": f"{tmp_path}/file/journal"}
        )
        async with serving(tmp_path, settings) as gateway:
            traffic = await played(gateway, 100)
            name = 'turpin_journal_dropped_total{reason="not_written"}'
            scraped = await until("dropped lines", lambda: _scraped(gateway, name))
            log = await gateway.stop()

    assert not traffic.failed
    assert scraped[name] > 100
    assert log.count("journal not written") == 1


async def _scraped(gateway: Gateway, name: str) -> dict[str, float] | None:
    found = await gateway.scrape()
    return found if found.get(name, 0.0) > 100 else None
