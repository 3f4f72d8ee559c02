"""Replicas behind a gateway: one dies under load and comes back, all come late, the control process dies; no request fails."""

import asyncio
import time
from pathlib import Path

import aiohttp
import pytest

from serving import wire
from tests.system.client import Client
from tests.system.gateway import Gateway, configuration, endless, serving, until
from tests.system.model_server import BYSTANDER, MODEL, DigitsServer
from tests.system.test_whole_line import CLIENTS, LINES, RATES
from tests.system.traffic import Nature, Traffic

pytestmark = pytest.mark.timeout(120)


async def test_replica_that_dies_under_load_costs_no_request_and_comes_back(tmp_path: Path) -> None:
    document = configuration(tmp_path, "", experiments=[endless()])
    async with DigitsServer(LINES) as stays, DigitsServer(LINES) as dies:
        document["backends"]["tfs-a"]["target"] = [stays.address, dies.address]
        async with serving(tmp_path, document) as gateway, Client.to(gateway) as client:
            await gateway.in_phase("running", patience_s=45.0)
            traffic = Traffic(client, Nature(RATES, seed=4))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(traffic.run(CLIENTS))
                await until("both replicas in use", lambda: min(len(stays.predicted), len(dies.predicted)) > 100)
                await dies.fall()
                before = len(stays.predicted), len(dies.predicted)
                await until("the other replica takes all", lambda: len(stays.predicted) > before[0] + 300)
                assert len(dies.predicted) == before[1]

                risen_at = time.monotonic()
                await dies.rise()
                await until("its share of the traffic", lambda: len(dies.predicted) > before[1] + 100)
                back_s = time.monotonic() - risen_at
                traffic.stop.set()
            scraped = await gateway.scrape()

    assert traffic.failed == []
    # It was away for less than the third question, which comes 3.5 s after it went and is the last before it is back; the
    # rest is for a busy machine.
    assert back_s < 10.0
    assert scraped['turpin_backend_ejections_total{backend="tfs-a"}'] >= 1


async def test_gateway_that_began_before_its_model_server_fails_no_request_once_it_runs(tmp_path: Path) -> None:
    async with DigitsServer() as server:
        await server.fall()
        document = configuration(tmp_path, server.address, experiments=[endless()])
        async with serving(tmp_path, document) as gateway, Client.to(gateway) as client:
            ejected = await until("a worker that knows", lambda: gateway.events("replica ejected"))
            # Long enough that a worker which asks ever more seldom asks next in 4 s.
            await asyncio.sleep(4.0)
            await server.rise()
            await gateway.in_phase("running", patience_s=45.0)
            answers = [await client.predict() for _ in range(50)]
            await gateway.stop()

    assert ejected
    assert {answer.experiment for answer in answers} == {MODEL}


async def test_control_process_killed_while_losers_are_unloaded_is_followed_by_one_that_goes_on(tmp_path: Path) -> None:
    document = configuration(tmp_path, "", workers=2)
    async with DigitsServer(LINES) as one, DigitsServer(LINES) as other:
        # Versions go when the test says so: the kill comes after the reload, and before the end.
        document["backends"]["tfs-a"]["target"] = [one.address, other.address]
        async with serving(tmp_path, document) as gateway, Client.to(gateway) as client:
            await gateway.in_phase("running", patience_s=45.0)
            for server in (one, other):
                server.polls = False
            traffic = Traffic(client, Nature(RATES, seed=5))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(traffic.run(CLIENTS))
                await until("a reload of both", lambda: one.reloads and other.reloads, patience_s=45.0)
                traffic.is_away = True
                gateway.process.kill()
                await gateway.ended()
                for server in (one, other):
                    server.polls = True
                    server.poll()
                failed_at = time.monotonic()
                await gateway.start_again()
                traffic.is_away = False
                assert time.monotonic() - failed_at < 20.0
                concluded = await gateway.in_phase("concluded", patience_s=45.0)
                traffic.stop.set()
            await gateway.stop()

    assert [arm["state"] for arm in concluded["arms"]] == ["retired", "eligible", "retired"]
    for server in (one, other):
        assert [server.state_of(MODEL, version) for version in (1, 2, 3)] == [wire.END, wire.AVAILABLE, wire.END]
        assert [server.state_of(BYSTANDER, version) for version in (7, 8)] == [wire.AVAILABLE] * 2
        for reload in server.reloads:
            bystanders = [entry for entry in reload.model_config_list.config if entry.name == BYSTANDER]
            assert [list(entry.model_version_policy.specific.versions) for entry in bystanders] == [[7, 8]]


def made_token(folder: Path) -> str:
    """The token that the gateway made at its first start."""
    (token,) = [path.read_text().strip() for path in folder.iterdir() if "token" in path.name]
    return token


async def ordered(gateway: Gateway, token: str, path: str, **body: str) -> None:
    """Give an order through the admin API."""
    url = f"http://127.0.0.1:{gateway.admin}/admin/v1/experiments/{MODEL}{path}"
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()


async def test_no_request_fails_while_arms_are_retired_brought_back_and_changed_for_the_winner(tmp_path: Path) -> None:
    document = configuration(tmp_path, "", experiments=[endless()])
    async with DigitsServer(LINES) as one, DigitsServer(LINES) as other:
        document["backends"]["tfs-a"]["target"] = [one.address, other.address]
        async with serving(tmp_path, document) as gateway, Client.to(gateway) as client:
            await gateway.in_phase("running", patience_s=45.0)
            token = made_token(tmp_path)
            traffic = Traffic(client, Nature(RATES, seed=6))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(traffic.run(CLIENTS))
                await ordered(gateway, token, ":promote", arm="v2")
                await gateway.in_phase("concluded", patience_s=45.0)
                assert (one.serves(MODEL), other.serves(MODEL)) == ([2], [2])
                before = dict(traffic.answers)
                # Loaded, warmed and compared first: it serves nobody until then, and v2 goes only afterwards.
                await ordered(gateway, token, ":promote", arm="v1")
                await until("v1 alone", lambda: one.serves(MODEL) == other.serves(MODEL) == [1], patience_s=45.0)
                served = traffic.answers["v1"]
                await until("v1 serves", lambda: traffic.answers["v1"] > served + 50)
                traffic.stop.set()

    assert traffic.failed == []
    assert before.get("v3") == traffic.answers.get("v3")
    assert [server.serves(BYSTANDER) for server in (one, other)] == [[7, 8]] * 2
