"""An operator captures requests that two workers answer, and sends a label back as a reward with a captured token."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

from tests.system.client import Client
from tests.system.gateway import Gateway, configuration, endless, serving, until
from tests.system.model_server import MODEL, DigitsServer
from tests.system.operator import audit, call
from tests.system.test_bypass import connected

CAPTURES = "/admin/v1/captures"


async def examples(gateway: Gateway, id_: str) -> dict[str, Any]:
    """Return the first page of a capture."""
    status, body = await call(gateway, "GET", f"{CAPTURES}/{id_}")
    assert status == 200, body
    found: dict[str, Any] = body
    return found


async def begin(gateway: Gateway, **wanted: Any) -> str:
    """Begin a capture; return its id."""
    status, body = await call(gateway, "POST", CAPTURES, {"experiment": MODEL, "per_minute": 600} | wanted)
    assert status == 201, body
    return str(body["id"])


async def ask(clients: list[Client]) -> dict[str, tuple[float, ...]]:
    """Predict over all connections; return what was sent, by the token it got."""
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(client.predict()) for client in clients]
    return {task.result().decision: task.result().images for task in asked}


async def labelled(client: Client, decision: str) -> bool:
    """Send a reward; return whether it was learned from."""
    answer, _ = await client.http("POST", "/v1/rewards", json.dumps({"decision": decision, "reward": 1.0}).encode())
    return bool(json.loads(answer)["learned"])


async def test_examples_of_all_workers_are_seen_and_labelled(tmp_path: Path) -> None:
    async with DigitsServer() as server:
        document = configuration(tmp_path, server.address, workers=2, experiments=[endless()])
        async with serving(tmp_path, document) as gateway, connected(gateway) as clients:
            await gateway.in_phase("running")

            async def drawn() -> bool:
                # A worker hears of it a quarter of a second later.
                return all([await labelled(clients[0], decision) for decision in await ask(clients)])

            await until("all workers draw", drawn)
            id_ = await begin(gateway, examples_max=6, reason="a complaint")
            sent: dict[str, tuple[float, ...]] = {}

            async def ended() -> bool:
                sent.update(await ask(clients))
                return bool((await examples(gateway, id_))["capture"]["state"] == "ended")

            await until("all examples are there", ended)
            body = await examples(gateway, id_)

            assert [one["number"] for one in body["examples"]] == list(range(1, 7))
            for one in body["examples"]:
                assert one["inputs"] == {"images": [list(sent[one["decision"]])]}
                assert one["outputs"] == {"images": one["inputs"]["images"], "version": [one["version"]]}
                assert one["arm"] == f"v{one['version']}"
            assert await labelled(clients[0], body["examples"][0]["decision"])
            assert [row["why"] for row in await audit(gateway) if "capture" in row["what"]] == ["a complaint"]
            # Each worker counts; all of them are in one scrape.
            kept = f'turpin_captures_total{{experiment="{MODEL}",result="kept"}}'

            async def counted() -> bool:
                return (await gateway.scrape()).get(kept, 0.0) >= 6

            await until("all are counted", counted)


async def test_worker_that_died_goes_on_capturing(tmp_path: Path) -> None:
    async with DigitsServer() as server:
        document = configuration(tmp_path, server.address, workers=1, experiments=[endless()])
        async with serving(tmp_path, document) as gateway:
            await gateway.in_phase("running")
            id_ = await begin(gateway, examples_max=2)
            async with Client.to(gateway) as client:
                await client.predict()
            await until("one is there", lambda: has(gateway, id_, 1))
            (first,) = gateway.workers()
            os.kill(first, signal.SIGKILL)
            await until("another worker serves", lambda: gateway.workers() not in ([], [first]))
            await gateway.ready()

            async with Client.to(gateway) as client:
                await client.predict()

            await until("another one is there", lambda: has(gateway, id_, 2))


async def has(gateway: Gateway, id_: str, count: int) -> bool:
    return len((await examples(gateway, id_))["examples"]) == count


async def test_single_process_captures_too(tmp_path: Path) -> None:
    async with DigitsServer() as server:
        document = configuration(tmp_path, server.address, experiments=[endless()])
        async with serving(tmp_path, document, "--single") as gateway, Client.to(gateway) as client:
            await gateway.in_phase("running")
            id_ = await begin(gateway)
            await client.predict()

            await until("one is there", lambda: has(gateway, id_, 1))
