"""The commands for operators against a real gateway: what they do, what they say, and how they end."""

import asyncio
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from router import cli
from tests.system.gateway import Gateway, configuration, endless, serving, until
from tests.system.model_server import BYSTANDER, DigitsServer
from tests.system.operator import audit

WELL, FAILED, BAD_INPUT = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Shell:
    """A shell on the gateway's machine, in a folder of its own; the token is found by the commands themselves."""

    gateway: Gateway
    folder: Path

    async def run(self, *words: str, code: int = WELL) -> Result:
        """Run a command, which has to end so."""
        environ = {"TURPIN_ADMIN": f"http://127.0.0.1:{self.gateway.admin}"}
        done = await asyncio.to_thread(CliRunner().invoke, cli.app, list(words), env=environ)
        assert done.exit_code == code, f"{words}: {done.exit_code}\n{done.output}"
        return done

    async def document(self, *words: str, code: int = WELL) -> Any:
        """Run a command, and return the JSON it writes."""
        return json.loads((await self.run(*words, "--json", code=code)).stdout)

    def write(self, name: str, document: Mapping[str, Any]) -> str:
        """Write an experiment's file; return its path."""
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(dict(document)))
        return str(path)


async def in_phase(shell: Shell, name: str, *phases: str) -> None:
    async def there() -> bool:
        listed = (await shell.document("experiments", "list"))["experiments"]
        return any(one["name"] == name and one["phase"] in phases for one in listed)

    await until(f"{name} in {phases}", there)


@pytest.mark.timeout(120)
async def test_experiment_is_specified_and_led_through_its_life(tmp_path: Path) -> None:
    async with DigitsServer() as server:
        settings = configuration(tmp_path, server.address, experiments=[])
        async with serving(tmp_path, settings) as gateway:
            shell = Shell(gateway, tmp_path)
            await _specify(shell)
            await _operate(shell)
            await _send_arms(shell)
            await _end(shell)
            rows = [row["what"] for row in await audit(gateway)]
            await gateway.stop()

    life = ["create", "start", "replace", "pause", "resume", "bypass", "resume", "rollback to 1"]
    arms = ["drain v3", "restore v3", "retire v3"]
    other = ["create", "start", "replace", "rollback to 1", "stop", "archive"]
    assert rows == [*life, *arms, "promote v2", "rollback", *other]


async def _specify(shell: Shell) -> None:
    file = shell.write("digits", endless())
    shown = await shell.run("experiments", "apply", file, "--dry-run")
    assert "share then" in shown.stdout
    assert (await shell.document("experiments", "list")) == {"experiments": []}

    bad = endless()
    bad["arms"][1]["name"] = "v1"
    refused = await shell.run("experiments", "apply", shell.write("bad", bad), code=BAD_INPUT)
    assert "arms[1].name: 'v1' is there twice" in refused.stderr
    assert "can't read" in (await shell.run("experiments", "apply", "nowhere.yaml", code=BAD_INPUT)).stderr

    made = await shell.run("experiments", "apply", file, "--reason", "a new question")
    assert made.stdout == "digits, phase draft, revision 1\n"
    started = await shell.document("experiments", "apply", file, "--start")
    assert started["phase"] == "warmup"
    assert "answers 409" in (await shell.run("experiments", "start", "digits", code=FAILED)).stderr
    await in_phase(shell, "digits", "running")

    changed = shell.write("digits", endless() | {"policy": {**endless()["policy"], "floor": 0.02}})
    assert "policy.floor: 0.01 -> 0.02" in (await shell.run("experiments", "diff", changed)).stdout
    assert (await shell.document("experiments", "apply", changed))["revision"] == started["revision"] + 1
    assert "nothing would change" in (await shell.run("experiments", "diff", changed)).stdout


async def _operate(shell: Shell) -> None:
    paused = await shell.run("experiments", "pause", "digits", "--reason", "lunch")
    assert "paused by local: lunch" in paused.stdout
    assert (await shell.document("experiments", "resume", "digits"))["phase"] == "running"
    assert (await shell.document("experiments", "bypass", "digits"))["bypassed"]
    await shell.run("experiments", "resume", "digits")
    await shell.run("experiments", "rollback", "digits", "--revision", "1")
    assert "no experiment 'nobody'" in (await shell.run("experiments", "pause", "nobody", code=FAILED)).stderr
    shown = (await shell.run("experiments", "show", "digits")).stdout
    assert "phase: running" in shown
    assert "█" in shown


async def _send_arms(shell: Shell) -> None:
    drained = await shell.document("arms", "drain", "digits", "v3")
    assert {arm["name"]: arm["state"] for arm in drained["arms"]}["v3"] == "draining"
    await shell.run("arms", "restore", "digits", "v3")
    assert "v3" in (await shell.run("arms", "list", "digits")).stdout
    await shell.run("arms", "retire", "digits", "v3", "--reason", "too slow")
    assert "no arm 'v9'" in (await shell.run("arms", "drain", "digits", "v9", code=FAILED)).stderr
    assert "promote another arm first" in (await shell.run("arms", "drain", "digits", "v1", code=FAILED)).stderr


async def _end(shell: Shell) -> None:
    assert (await shell.document("experiments", "promote", "digits", "v2"))["winner"] == "v2"
    assert (await shell.document("experiments", "rollback", "digits", "--reason", "it is worse"))["winner"] == "v1"
    history = (await shell.document("experiments", "history", "digits"))["history"]
    assert any("it is worse" in note["why"] for note in history)
    assert "created by local: a new question" in (await shell.run("experiments", "history", "digits")).stdout

    other = endless() | {"name": "other", "model": BYSTANDER, "control": "v7"}
    other["arms"] = [{"name": f"v{version}", "backend": "tfs-a", "version": version} for version in (7, 8)]
    await shell.document("experiments", "apply", shell.write("other", other), "--start")
    await in_phase(shell, "other", "running")
    await shell.run(
        "experiments", "apply", shell.write("other", other | {"policy": {**other["policy"], "floor": 0.02}})
    )
    back = await shell.document("rollback", "other", "--to", "1")
    assert back["revision"] == 4
    assert (await shell.document("experiments", "stop", "other"))["phase"] in ("draining", "concluded")
    await in_phase(shell, "other", "concluded")
    assert (await shell.document("experiments", "archive", "other"))["phase"] == "archived"


@pytest.mark.timeout(90)
async def test_waiting_price_is_accepted_at_a_gateway_that_neither_leads_nor_saw_the_step(tmp_path: Path) -> None:
    prices = tmp_path / "prices.json"
    prices.write_text('{"k": 0.5}')
    async with DigitsServer() as server:
        settings = configuration(tmp_path, server.address, experiments=[endless()])
        settings["backends"]["tfs-a"]["price_usd_per_hour"] = {"feed": f"file:{prices}", "key": "k"}
        async with serving(tmp_path, settings) as first:
            leader = Shell(first, tmp_path)

            async def price(shell: Shell) -> tuple[float | None, float | None]:
                (one,) = (await shell.document("prices", "list"))["prices"]
                return one["usd_per_hour"], one["waiting_usd_per_hour"]

            async def shows(shell: Shell, in_force: float, waiting: float | None) -> bool:
                return await price(shell) == (in_force, waiting)

            await until("the price", lambda: shows(leader, 0.5, None))
            await first.in_phase("running")
            prices.write_text('{"k": 5.0}')
            await until("a price that waits", lambda: shows(leader, 0.5, 5.0))
            async with serving(tmp_path, settings) as second:
                other = Shell(second, tmp_path)
                await until("the same there", lambda: shows(other, 0.5, 5.0))
                assert "waits for an operator" in (await other.run("prices", "list")).stdout
                done = await other.run("prices", "accept", "tfs-a", "--reason", "so they say")
                for shell in (other, leader):
                    await until("the price in force", functools.partial(shows, shell, 5.0, None))
                again = await other.run("prices", "accept", "tfs-a", code=FAILED)
                unknown = await other.run("prices", "accept", "tfs-z", code=FAILED)
                rows = await audit(first)
                led = len(second.events("leading"))
                await second.stop()
            await first.stop()

    assert done.stdout == "tfs-a costs $5.0 an hour\n"
    assert "no price waits" in again.stderr
    assert "no backend 'tfs-z' with a price feed" in unknown.stderr
    assert led == 0
    assert [(row["what"], row["who"], row["why"]) for row in rows] == [
        ("accept price of tfs-a", "local", "so they say")
    ]


async def test_gateway_that_is_not_there_is_a_failure_and_words_that_make_no_sense_are_bad_input() -> None:
    environ = {"TURPIN_ADMIN": "http://127.0.0.1:9"}
    codes = {
        words: (await asyncio.to_thread(CliRunner().invoke, cli.app, words.split(), env=environ)).exit_code
        for words in ("prices list", "arms list digits", "experiments rollback digits --revision 0", "prices accept")
    }

    assert list(codes.values()) == [FAILED, FAILED, BAD_INPUT, BAD_INPUT]
