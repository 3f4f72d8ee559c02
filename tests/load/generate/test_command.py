"""`turpin load` against the stand-in, over real sockets."""

import asyncio
import json
from pathlib import Path

import pytest
import typer

from load.generate.command import app
from load.generate.sender import GrpcSender, Many, RestSender, body_of
from load.generate.stand_in import StandIn


async def test_the_stand_in_serves_one_batch_after_the_other_and_tells_what_came() -> None:
    async with StandIn(0.02, 0.001) as server, Many([GrpcSender(server.address, body_of("m", "x", 5, 1), 5.0)]) as many:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(many.send()) for _ in range(4)]
        assert [task.result() for task in tasks] == ["ok"] * 4
        # Four batches of 25 ms, none beside another; timers may be a millisecond early.
        assert loop.time() - began >= 0.099
        report = server.report()

    assert (report["calls"], report["rows"], report["sizes"], report["in_flight_max"]) == (4, 20, {"5": 4}, 4)
    assert report["busy_s"] == pytest.approx(0.1)


async def test_a_refusal_is_counted_by_its_code() -> None:
    async with (
        StandIn(0.0, 0.0, rows_max=4) as server,
        Many([GrpcSender(server.address, body_of("m", "x", 5, 1), 5.0)]) as many,
    ):
        assert await many.send() == "INVALID_ARGUMENT"


async def test_nobody_there_is_an_outcome() -> None:
    async with Many([RestSender("127.0.0.1:9", "m", 1, 1, 1.0)]) as many:
        assert await many.send() == "unreached"


def test_the_command_writes_its_numbers_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as left:
        app("127.0.0.1:9", "m", rate=50.0, seconds=0.2, warm_up=0.0, protocol="rest", timeout_ms=500.0, as_json=True)
    report = json.loads(capsys.readouterr().out)

    assert left.value.exit_code == 1
    assert (report["answered"], report["rate"], set(report["failed"])) == (0, 50.0, {"unreached"})


@pytest.mark.parametrize("bad", [{"protocol": "soap"}, {"rate": 0.0}])
def test_bad_options_are_refused(bad: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as left:
        app("127.0.0.1:9", "m", **bad)  # type: ignore[arg-type]  # of several types

    assert left.value.exit_code == 2
    assert "must be" in capsys.readouterr().err


def test_a_scenario_is_sent_phase_by_phase_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario, plot = tmp_path / "load.yaml", tmp_path / "load.svg"
    scenario.write_text("phases: [{name: calm, rate: 50, seconds: 0.2}, {in_flight: 2, seconds: 0.2}]")
    with pytest.raises(typer.Exit):
        app("127.0.0.1:9", "m", protocol="rest", timeout_ms=500.0, scenario=scenario, plot=plot, as_json=True)
    report = json.loads(capsys.readouterr().out)

    assert [(one["name"], one.get("rate"), one.get("in_flight")) for one in report["phases"]] == [
        ("calm", 50.0, None),
        ("phase 2", None, 2),
    ]
    assert {"cpus", "load", "python", "commit"} <= set(report["machine"])
    assert plot.read_text().startswith("<svg")


@pytest.mark.parametrize(("content", "why"), [(None, "No such file or directory"), (b"\xff", "it is not UTF-8")])
def test_a_scenario_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, why: str
) -> None:
    scenario = tmp_path / "load.yaml"
    if content is not None:
        scenario.write_bytes(content)
    with pytest.raises(typer.Exit) as left:
        app("127.0.0.1:9", "m", scenario=scenario)

    assert left.value.exit_code == 2
    assert capsys.readouterr().err == f"turpin load: can't read {scenario}: {why}\n"
