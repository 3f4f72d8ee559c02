"""No request fails while a version is deployed, retired, restored, promoted and rolled back, and no loser gets one."""

import asyncio
from pathlib import Path

import aiohttp
import msgspec
import pytest

from load.demo.state import State
from load.switching.open_loop import OpenLoop
from load.switching.operations import Operations
from load.switching.play import play
from load.switching.windows import rows
from serving import wire
from tests.system.client import Client, predict_request
from tests.system.gateway import Gateway, configuration, endless, serving
from tests.system.model_server import BYSTANDER, MODEL, DigitsServer
from tests.system.test_replicas import made_token
from tests.turpin.models import write_model
from turpin.async_client import AsyncClient

RATE = 60.0


def operations_on(gateway: Gateway, token: str, session: aiohttp.ClientSession) -> Operations:
    async def look() -> State | None:
        found = await gateway.state()
        return msgspec.convert(found, State) if found else None

    url = f"http://127.0.0.1:{gateway.admin}"
    return Operations(
        client=AsyncClient(url, token=token),
        look=look,
        session=session,
        admin_url=url,
        token=token,
        now=asyncio.get_running_loop().time,
    )


@pytest.mark.timeout(120)
async def test_nothing_fails_and_losers_get_nothing_while_versions_are_switched(tmp_path: Path) -> None:
    package = write_model(tmp_path / "new" / "4")
    async with DigitsServer() as server:
        server.disk = {**server.disk, MODEL: (1, 2, 3, 4)}
        document = configuration(tmp_path, server.address, experiments=[endless()])
        document["backends"]["tfs-a"]["publish"] = str(tmp_path / "published")
        (tmp_path / "published" / MODEL).mkdir(parents=True)
        async with (
            serving(tmp_path, document) as gateway,
            Client.to(gateway) as client,
            aiohttp.ClientSession() as session,
        ):
            operations = operations_on(gateway, made_token(tmp_path), session)
            await operations.until("it runs", lambda state: state.phase == "running")
            loop = asyncio.get_running_loop()
            body = predict_request([0.0, 1.0, 2.0, 3.0]).SerializeToString()
            sender = OpenLoop(client.channel, body, RATE, loop.time)
            await play(operations, sender, package, steady_s=1.0)
            await gateway.stop()

    found = rows(operations.windows, sender.calls, operations.outs)
    assert [row.name for row in found] == ["nothing", "deploy", "retire", "restore", "promote", "rollback"]
    assert [(row.failed, row.errors, row.to_losers) for row in found] == [(0, (), 0)] * 6
    assert {out.arm for out in operations.outs} == {"v1", "v2", "v3", "v4"}
    states = {version: wire.STATE_NAMES[server.state_of(MODEL, version)] for version in (1, 2, 3, 4)}
    assert states == {1: "AVAILABLE", 2: "END", 3: "END", 4: "END"}
    assert server.serves(BYSTANDER) == [7, 8]
