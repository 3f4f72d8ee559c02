"""`turpin rewards send` against a real gateway: every reward counts once, however often its file is sent."""

import asyncio
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from router.decisions import Mode
from tests.redis_server import free_port
from tests.system.client import Client, token_fields
from tests.system.command_line import run
from tests.system.gateway import Gateway, configuration, endless, serving, until
from tests.system.model_server import DigitsServer

pytestmark = pytest.mark.timeout(150)

COUNT = 60


async def send(http: int, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    return await run("rewards", "send", *words, stdin=stdin, http=f"http://127.0.0.1:{http}")


def written(path: Path, claims: Sequence[Mapping[str, Any]]) -> str:
    path.write_text("".join(json.dumps(claim) + "\n" for claim in claims))
    return str(path)


async def sums(gateway: Gateway) -> tuple[int, float]:
    arms = (await gateway.state())["arms"]
    return sum(arm["rewards"] for arm in arms), sum(arm["reward_sum"] for arm in arms)


async def counted(gateway: Gateway, wanted: tuple[int, float]) -> None:
    async def is_so() -> bool:
        return await sums(gateway) == wanted

    await until(f"rewards {wanted}", is_so)


async def test_file_that_is_interrupted_and_sent_again_counts_once(tmp_path: Path) -> None:
    document = endless()
    document["objective"]["reward"] = {"window": "5m"}
    async with DigitsServer() as server:
        settings = configuration(tmp_path, server.address, experiments=[document])
        async with serving(tmp_path, settings) as gateway, Client.to(gateway) as client:
            await gateway.in_phase("running")
            await until("a learned decision", lambda: _is_learned(client))
            tokens = [(await client.predict()).decision for _ in range(COUNT + 2)]
            claims = [{"decision": token, "reward": number % 2} for number, token in enumerate(tokens[:COUNT])]
            bad = {"decision": tokens[0][:-4] + "AAAA", "reward": 1}
            file = written(tmp_path / "rewards.jsonl", [*claims[:40], bad, *claims[40:]])

            one = await send(gateway.http, tokens[COUNT], "1", "--json")
            again = await send(gateway.http, tokens[COUNT], "1")
            other = await send(gateway.http, tokens[COUNT], "0")
            wide = await send(gateway.http, tokens[COUNT + 1], "7")
            await counted(gateway, (1, 1.0))
            # The gateway is ended in between: the second half waits until it is back.
            half = await send(gateway.http, "--file", "-", "--batch", "7", "--json", stdin=_text(claims[:30]))
            port = gateway.http
            await gateway.stop()
            away = await send(port, "--file", file, "--wait", "0", "--json")
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(send(port, "--file", file, "--batch", "16", "--json"))
                await gateway.start_again()
            whole = sending.result()
            await counted(gateway, (COUNT + 1, COUNT / 2 + 1))
            tail = await send(port, "--file", file, "--from", "60", "--json")
            await gateway.stop()

    assert (one.returncode, _sent(one)) == (0, {"sent": 1, "learned": 1, "next_line": 2})
    assert (again.returncode, again.stdout) == (0, "0 recorded, 1 were there before, 1 of these are learned from\n")
    assert (other.returncode, other.stderr.split(":")[0]) == (1, "conflict")
    assert (wide.returncode, wide.stderr) == (2, "invalid: a reward must be within [0, 1], got 7.0\n")
    assert (half.returncode, _sent(half)) == (0, {"sent": 30, "learned": 30, "next_line": 31})
    assert away.returncode == 1
    assert "Lines before 1 were answered" in away.stderr
    assert (whole.returncode, json.loads(whole.stdout)["refused"]) == (1, {"forged": 1})
    assert _sent(whole) == {"sent": COUNT, "learned": COUNT, "next_line": 62}
    assert json.loads(whole.stdout)["duplicates"] >= 30
    assert whole.stderr.startswith("line 41: forged: ")
    assert _sent(tail) == {"sent": 2, "learned": 2, "next_line": 62}
    assert json.loads(tail.stdout)["recorded"] == 0


def _sent(done: "subprocess.CompletedProcess[str]") -> dict[str, int]:
    """Return what was accepted: a reward whose answer was lost on the way is there before when it is sent again."""
    books = json.loads(done.stdout)
    sent = books["recorded"] + books["duplicates"]
    return {"sent": sent, "learned": books["learned"], "next_line": books["next_line"]}


async def _is_learned(client: Client) -> bool:
    """Say whether decisions are the experiment's by now: a worker hears of that a moment after the leader."""
    return bool(token_fields((await client.predict()).decision)["mode"] == Mode.EXPERIMENT)


def _text(claims: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(claim) + "\n" for claim in claims)


async def test_what_makes_no_sense_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    port = free_port()
    bad = tmp_path / "bad.jsonl"
    bad.write_text("nonsense\n")

    for words, said in (
        ((), "give a DECISION and its REWARD, or --file"),
        (("token",), "give a DECISION and its REWARD, or --file"),
        (("token", "1", "--file", "x"), "give a DECISION and its REWARD, or --file"),
        (("--file", str(tmp_path / "nowhere")), "can't read"),
        (("--file", str(bad)), "line 1: no JSON"),
        (("token", "nan"), "a reward must be a finite number"),
        (("token", "1", "--http", "ftp://x"), "a URL such as"),
    ):
        done = await send(port, *words)

        assert done.returncode == 2, (words, done)
        assert said in done.stderr, (words, done.stderr)
        assert "Traceback" not in done.stderr


async def test_gateway_that_is_not_there_is_said(tmp_path: Path) -> None:
    done = await send(free_port(), "token", "1", "--wait", "0")

    assert done.returncode == 1
    assert "no gateway answers at" in done.stderr
