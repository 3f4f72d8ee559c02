"""After the end an earlier revision comes back on real processes: loaded, warmed, routed to, and only then the rest goes."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from serving import wire
from tests.system.client import Client
from tests.system.gateway import configuration, endless, serving, until
from tests.system.model_server import MODEL, DigitsServer
from tests.system.test_commands import Shell
from tests.system.traffic import Nature, Traffic


@pytest.mark.timeout(120)
async def test_nothing_fails_while_earlier_revisions_come_back_after_the_end(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(DigitsServer())
        settings = configuration(tmp_path, server.address, experiments=[endless()])
        gateway = await stack.enter_async_context(serving(tmp_path, settings))
        client = await stack.enter_async_context(Client.to(gateway))
        shell, traffic = Shell(gateway, tmp_path), Traffic(client, Nature({1: 0.5, 2: 0.5, 3: 0.5}, seed=1))

        async def serves_alone(winner: int) -> None:
            async def is_so() -> bool:
                state = await gateway.state()
                return (state["phase"], state["winner"]) == ("concluded", f"v{winner}")

            await until(f"v{winner} serves", is_so)
            found = {version: wire.STATE_NAMES[server.state_of(MODEL, version)] for version in (1, 2, 3)}
            assert found == {1: "END", 2: "END", 3: "END"} | {winner: "AVAILABLE"}

        async def says_why() -> str | None:
            arm: dict[str, Any] = (await gateway.state())["arms"][0]
            is_tried = arm["state"] == "warming" and not arm["reason"].startswith("promoted by")
            return arm["reason"] if is_tried else None

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(traffic.run(4))
            await gateway.in_phase("running")
            fewer = endless() | {"arms": [arm for arm in endless()["arms"] if arm["name"] != "v3"]}
            dropped = (await shell.document("experiments", "apply", shell.write("fewer", fewer)))["revision"]
            promoted = (await shell.document("experiments", "promote", "digits", "v2"))["revision"]
            await serves_alone(2)

            server.broken = ((MODEL, 1),)
            back = await shell.document("rollback", "digits", "--to", str(dropped - 1))
            why = await until("the server says what is wrong", says_why)
            # What went out is not out yet.
            assert (await gateway.state())["winner"] == "v2"
            server.broken = ()
            await serves_alone(1)
            listed = (await shell.document("arms", "list", "digits"))["arms"]

            await shell.run("rollback", "digits", "--to", str(promoted))
            await serves_alone(2)
            traffic.stop.set()
        await gateway.stop()

    assert (traffic.failed, traffic.refused) == ([], [])
    assert back["winner"] == "v2"
    assert why.endswith("bad graph")
    assert [(arm["name"], arm["dropped"]) for arm in listed] == [("v1", False), ("v2", False), ("v3", False)]
