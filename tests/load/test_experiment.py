"""From the first request to the last reward, against a stand-in that plays the experiment's end."""

import io
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from rich.console import Console

from load.demo import experiment
from load.demo.books import Books
from load.demo.experiment import Clients
from load.demo.plan import ARMS, Folder, Options, Ports
from load.demo.result import Run, missing
from load.demo.rewards import RewardSender
from load.demo.senders import RestSender
from load.demo.state import Gateway
from tests.load.stand_in import StandIn, images
from tests.load.test_state import OnePort


def shown(phase: str, winner: str | None, *states: str) -> dict[str, Any]:
    """Return a state as the gateway shows it."""
    arms = [{"name": name, "state": state} for name, state in zip(ARMS, states, strict=True)]
    return {"phase": phase, "winner": winner, "arms": arms}


class Script:
    """Plays the model server's part: each look shows the next states, and moves the gateway's state on, too."""

    def __init__(self, gateway: StandIn, looks: list[tuple[dict[str, Any], dict[int, str]]]) -> None:
        self._gateway = gateway
        self._looks = looks
        self._gateway.state = looks[0][0]

    async def server_states(self) -> dict[int, str]:
        _, servers = self._looks[0]
        if len(self._looks) > 1:
            self._looks.pop(0)
            self._gateway.state = self._looks[0][0]
        return servers


async def conduct(gateway: StandIn, script: Script, seconds: float) -> Run:
    """Conduct the stand-in's experiment for at most `seconds`."""
    pixels, digits = images(10)
    run = Run(seed=0, books=Books(ARMS, time.monotonic))
    options = Options(Ports(9500), Folder(Path("unused")), rate=400.0)
    async with aiohttp.ClientSession() as session:
        asked = Gateway(session, OnePort(gateway.port))
        clients = Clients(
            gateway=asked,
            senders=(RestSender(session, gateway.url, pixels),),
            rewards=RewardSender(session, gateway.url),
            server_states=script.server_states,
            digits=digits,
            is_back=asked.is_ready,
        )
        console = Console(file=io.StringIO(), width=200)
        await experiment.conduct(run, clients, options, console, time.monotonic() + seconds)
    return run


async def test_traffic_ends_when_the_losers_are_gone_and_every_reward_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(experiment, "_LOOK_S", 0.05)
    monkeypatch.setattr(experiment, "_LINGER_S", 0.1)
    running = shown("running", None, "eligible", "eligible", "eligible")
    over = shown("concluded", "v2", "retired", "eligible", "retired")
    async with StandIn(blind=7) as gateway:
        script = Script(
            gateway,
            [
                (running, {1: "AVAILABLE", 2: "AVAILABLE", 3: "AVAILABLE"}),
                (over, {1: "END", 2: "AVAILABLE", 3: "UNLOADING"}),
                (over, {1: "END", 2: "AVAILABLE", 3: "END"}),
            ],
        )
        run = await conduct(gateway, script, 15.0)

    assert missing(run) == []
    assert run.events == []
    assert (run.winner, run.unloaded) == ("v2", ["v1", "v3"])
    assert run.books.answers == gateway.predictions == run.rewards_sent == len(gateway.rewards) > 0
    assert sum(gateway.rewards.values()) == sum(count.right for count in run.books.arms.values())
    assert [moment.phase for moment in run.timeline][:2] == ["running", "concluded"]


async def test_time_runs_out_without_a_winner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "_LOOK_S", 0.05)
    async with StandIn() as gateway:
        script = Script(gateway, [(shown("running", None, "eligible", "eligible", "eligible"), {1: "AVAILABLE"})])
        run = await conduct(gateway, script, 0.3)

    assert run.events == ["--max-seconds has passed"]
    assert run.winner is None
    assert any("still running" in sentence for sentence in missing(run))
    assert run.rewards_sent == len(gateway.rewards) > 0
