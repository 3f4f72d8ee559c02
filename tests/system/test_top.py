"""`turpin top` beside a real gateway: a frame, lines of JSON, and a live view that outlives the gateway."""

import asyncio
import hashlib
import json
import re
import signal
from pathlib import Path

import pytest

from tests.redis_server import free_port
from tests.system.client import Client
from tests.system.command_line import on_terminal, run, started
from tests.system.gateway import PATIENCE_S, Gateway, configuration, endless, serving, until
from tests.system.model_server import MODEL, DigitsServer
from tests.system.traffic import Nature, Traffic

pytestmark = pytest.mark.timeout(90)

RATES = dict.fromkeys((1, 2, 3), 0.5)


def admin(gateway: Gateway) -> str:
    return f"http://127.0.0.1:{gateway.admin}"


async def test_one_frame_shows_traffic_experiment_and_backend(tmp_path: Path) -> None:
    async with DigitsServer() as server:
        settings = configuration(tmp_path, server.address, experiments=[endless()])
        async with serving(tmp_path, settings) as gateway, Client.to(gateway) as client:
            await gateway.in_phase("running")
            traffic = Traffic(client, Nature(RATES, seed=1))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(traffic.run(2))
                await until("some traffic", lambda: len(traffic.acknowledged) > 50)
                plain = await run("top", "--once", admin=admin(gateway))
                as_json = await run("top", MODEL, "--once", "--json", admin=admin(gateway))
                unknown = await run("top", "nobody", "--once", admin=admin(gateway))
                traffic.stop.set()
            await gateway.stop()

    assert (plain.returncode, plain.stderr) == (0, "")
    assert re.search(r"^[1-9][0-9,]* requests/s  p50 [0-9.]+ ms", plain.stdout, re.MULTILINE), plain.stdout
    assert re.search(r"^digits +running", plain.stdout, re.MULTILINE), plain.stdout
    assert re.search(r"^tfs-a +1/1 +0\.02 ", plain.stdout, re.MULTILINE), plain.stdout
    assert "\x1b" not in plain.stdout
    found = json.loads(as_json.stdout)
    assert found["traffic"]["requests_per_s"] > 0
    assert found["traffic"]["error_ratio"] == 0.0
    assert [arm["name"] for arm in found["experiments"][0]["arms"]] == ["v1", "v2", "v3"]
    assert any(event["after"] == "running" for event in found["events"])
    assert (unknown.returncode, unknown.stderr) == (1, "turpin: there is no experiment 'nobody'\n")


async def test_live_view_outlives_its_gateway(tmp_path: Path) -> None:
    async with DigitsServer() as server:
        settings = configuration(tmp_path, server.address, experiments=[endless()])
        async with serving(tmp_path, settings) as gateway:
            await gateway.in_phase("running")
            # Nothing but an event makes this one read again within the test.
            with (
                on_terminal("top", "--every", "600", admin=admin(gateway)) as told,
                on_terminal("top", admin=admin(gateway)) as seen,
            ):
                await told.says("running")
                await seen.says("requests/s")
                paused = await run("experiments", "pause", MODEL, admin=admin(gateway))
                await told.says("paused")
                await gateway.stop()
                gone_at = len(seen.written)
                await seen.says("no gateway answers at", gone_at)
                await seen.says("it is asked again every 1 s", gone_at)
                await gateway.start_again()
                back_at = len(seen.written)
                await seen.says("requests/s", back_at)
                codes = [await terminal.ended(signal.SIGINT) for terminal in (seen, told)]
            await gateway.stop()

    assert paused.returncode == 0, paused.stderr
    assert codes == [0, 0]
    # The terminal is as it was before.
    assert all(b"\x1b[?1049l" in terminal.written[-200:] for terminal in (seen, told))
    assert "Traceback" not in seen.text() + told.text()


async def test_lines_of_json_come_until_it_is_ended(tmp_path: Path) -> None:
    out = tmp_path / "lines"
    async with (
        DigitsServer() as server,
        serving(tmp_path, configuration(tmp_path, server.address, experiments=[])) as gateway,
    ):
        with out.open("wb") as file:
            process = started("top", "--json", "--every", "0.2", stdout=file.fileno(), admin=admin(gateway))
        try:
            await until("three lines", lambda: out.read_text().count("\n") >= 3)
            process.terminate()
            code = await asyncio.to_thread(process.wait, PATIENCE_S)
        finally:
            if process.poll() is None:
                process.kill()
        await gateway.stop()

    readings = [json.loads(line) for line in out.read_text().splitlines()]
    assert code == 0
    assert readings[0]["traffic"] is None
    assert readings[2]["traffic"]["requests_per_s"] == 0.0


async def test_gateway_that_is_not_there_is_said_in_one_line() -> None:
    done = await run("top", "--once", admin=f"http://127.0.0.1:{free_port()}")

    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"turpin: no gateway answers at http://127\.0\.0\.1:\d+: .*\n", done.stderr)
    assert "Is `turpin serve` running there?" in done.stderr


async def test_token_of_a_viewer_is_enough_and_without_one_it_is_said_what_is_wanted(tmp_path: Path) -> None:
    token = {"name": "wall", "role": "viewer", "sha256": hashlib.sha256(b"a viewer's token").hexdigest()}
    async with DigitsServer() as server:
        settings = configuration(tmp_path, server.address, experiments=[endless()], admin={"tokens": [token]})
        async with serving(tmp_path, settings) as gateway:
            nobody = await run("top", "--once", admin=admin(gateway))
            viewer = await run("top", "--once", admin=admin(gateway), token="a viewer's token")
            log = await gateway.stop()

    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert "answers 401: send `Authorization: Bearer" in nobody.stderr
    assert viewer.returncode == 0, viewer.stderr
    assert "digits" in viewer.stdout
    assert "a viewer's token" not in log + nobody.stderr
