"""SIGKILL in the middle of switching, on real processes: the next control process ends where the first would have.

Every single step is tried in virtual time (tests/router/control/test_resume.py, tests/router/deploy/test_driver.py); here
a few of them, with the embedded model server, whose own words are the proof.
"""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from load.demo.plan import EXPERIMENT, MODEL
from load.demo.state import State
from load.switching.stage import Stage, running
from router.clock import unix_now
from tests.system.gateway import until
from turpin.errors import TurpinError

PORTS = 18_740


async def kill(stage: Stage, *, whole: bool = False) -> None:
    """End the control process, or with its workers the whole gateway, and start it again when all of it is gone."""
    pid = stage.gateway.pid
    if whole:
        os.killpg(pid, signal.SIGKILL)
    else:
        os.kill(pid, signal.SIGKILL)
    await stage.gateway.process.wait()

    def is_gone() -> bool:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, 0)
            return False
        return True

    await until("the end of its workers", is_gone)
    await stage.start_again()


def is_(state: State, arm: str, *states: str) -> bool:
    found = state.arm(arm)
    return found is not None and found.state in states


async def deployed(stage: Stage, arm: str, kill_at: str) -> None:
    """Deploy a version, and kill the control process as soon as that step has begun, or a later one; then ask again."""
    version = int(arm.removeprefix("v"))
    package = stage.folder.aside / str(version)
    if not package.exists():
        shutil.copytree(stage.package, package)
    steps = ("publish", "load", "check", "warm", "join")

    async def has_come() -> bool:
        with contextlib.suppress(TurpinError):
            found = await stage.client.deployment(MODEL, version)
            return found.is_done or steps.index(found.step) >= steps.index(kill_at)
        return False

    async def deploy() -> None:
        # Its connection ends with the control process.
        with contextlib.suppress(TurpinError):
            await stage.client.deploy(MODEL, package, as_=arm)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(deploy())
        await until(f"step {kill_at}", has_come)
        await kill(stage)
    assert (await stage.client.deploy(MODEL, package, as_=arm)).is_done
    await stage.operations.until(f"{arm} is an arm", lambda state: is_(state, arm, "eligible"))


async def ordered_and_killed(
    stage: Stage, order: Callable[[], Awaitable[object]], is_midway: Callable[[float], bool], *, whole: bool = False
) -> None:
    """Give an order, and kill when the model server's log says that it is midway, as of the time of the order."""
    ordered_at = unix_now()
    await order()
    await until("midway", lambda: is_midway(ordered_at), 60.0)
    await kill(stage, whole=whole)


@pytest.mark.timeout(300)
async def test_gateway_that_is_killed_midway_goes_on_to_the_same_end(tmp_path: Path) -> None:
    async with running(tmp_path, port_base=PORTS, rate=1.0, workers=1) as stage:
        on, server = stage.operations, stage.server
        for arm, step in (("v4", "load"), ("v5", "warm"), ("v6", "join")):
            await deployed(stage, arm, step)
        assert await server.states() == dict.fromkeys(range(1, 7), "AVAILABLE")

        await ordered_and_killed(
            stage,
            lambda: on.order("/arms/v3:retire"),
            lambda since: server.first(3, "UNLOADING", since) is not None,
        )
        await on.until("v3 is retired", lambda state: is_(state, "v3", "retired"))
        assert (await server.states())[3] == "END"

        await ordered_and_killed(
            stage,
            lambda: on.order("/arms/v3:restore"),
            lambda since: server.first(3, "LOADING", since) is not None,
        )
        await on.until("v3 is back", lambda state: is_(state, "v3", "eligible"))
        assert (await server.states())[3] == "AVAILABLE"

        await ordered_and_killed(
            stage,
            lambda: on.order(":promote", arm="v2"),
            lambda since: server.first(1, "UNLOADING", since) is not None,
        )
        await ended(stage, winner=2)
        await ordered_and_killed(
            stage,
            lambda: stage.client.rollback(EXPERIMENT),
            lambda since: server.first(1, "LOADING", since) is not None,
            whole=True,
        )
        await ended(stage, winner=1)
        log = (stage.folder.logs / "gateway.log").read_text()

    assert log.count('"event": "leading"') == 8
    assert "Traceback" not in log


async def ended(stage: Stage, *, winner: int) -> None:
    """Wait for the end, in which the model server has the winner loaded and nothing else of what competed."""
    await stage.operations.until(
        f"v{winner} alone",
        lambda state: state.phase == "concluded" and state.winner == f"v{winner}" and len(state.retired) == 5,
    )
    expected = {version: "AVAILABLE" if version == winner else "END" for version in range(1, 7)}
    assert await stage.server.states() == expected
