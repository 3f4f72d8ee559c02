"""`turpin simulate`: JSON of design §13 on stdout, and clear words for bad worlds."""

import importlib.metadata
import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from load.simulate.command import app

WORLD = """
requests: 4000
refresh: 500
block: 1000
value_usd: 0.001
arms: [{rate: 0.2}, {rate: 0.5, cost_usd: 0.0001}]
stop: {cycle: null}
"""


def run(text: str, *options: str) -> Result:
    commands = typer.Typer()
    commands.command()(app)
    return CliRunner().invoke(commands, ["-", *options], input=text)


def answer(text: str, *options: str) -> Any:
    done = run(text, "--json", *options)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def test_one_run_answers_with_all_that_is_promised() -> None:
    found = answer(WORLD, "--seed", "3")

    [one] = found["runs"]
    assert set(one) == {"regret", "weights", "leader", "best", "stopped_at", "retired", "shares"}
    assert (one["leader"], one["best"]) == (1, [1])
    assert sum(one["weights"]) == pytest.approx(1)
    assert sum(one["shares"]) == pytest.approx(1)
    assert one["retired"] == ([{"arm": 0, "at": one["stopped_at"]}] if one["stopped_at"] else [])
    assert found["mean"]["regret"] == one["regret"]
    assert found["se"]["regret"] is None


def test_several_runs_have_means_and_standard_errors() -> None:
    found = answer(WORLD, "--runs", "3")

    regrets = [one["regret"] for one in found["runs"]]
    stops = [one["stopped_at"] for one in found["runs"] if one["stopped_at"] is not None]
    assert len(set(regrets)) == 3
    assert found["mean"]["regret"] == pytest.approx(statistics.mean(regrets))
    assert found["se"]["regret"] == pytest.approx(statistics.stdev(regrets) / 3**0.5)
    assert found["mean"]["stopped"] == len(stops) / 3
    assert found["mean"]["stopped_at"] == (pytest.approx(statistics.mean(stops)) if stops else None)
    assert len(found["mean"]["weights"]) == len(found["se"]["shares"]) == 2


def test_the_same_seed_gives_the_same_answer_and_another_another() -> None:
    assert answer(WORLD, "--seed", "1") == answer(WORLD, "--seed", "1")
    assert answer(WORLD, "--seed", "1") != answer(WORLD, "--seed", "2")


def test_json_is_yaml_and_a_file_will_do(tmp_path: Path) -> None:
    path = tmp_path / "world.json"
    path.write_text(json.dumps({"requests": 1000, "arms": [{"rate": 0.2}, {"rate": 0.5}], "policy": "uniform"}))
    commands = typer.Typer()
    commands.command()(app)

    done = CliRunner().invoke(commands, [str(path), "--json"])

    assert json.loads(done.stdout)["runs"][0]["stopped_at"] is None


def test_people_get_a_line_a_run() -> None:
    done = run(WORLD)

    assert done.stdout.splitlines()[0].split()[:3] == ["run", "regret", "leader"]
    assert done.stdout.splitlines()[-1].startswith("mean: regret")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("arms: [", "turpin simulate: line"),
        (WORLD + "colour: red", "turpin simulate: colour: unknown setting"),
        (WORLD + "floor: 0.4", "turpin simulate: floor: must be at most 0.25 with 2 arms; got 0.4"),
        (WORLD.replace("cycle: null", "delta: 3"), "turpin simulate: stop.delta: must be less than 1; got 3"),
    ],
)
def test_bad_worlds_end_with_2(text: str, complaint: str) -> None:
    done = run(text, "--json")

    assert (done.exit_code, done.stdout) == (2, "")
    assert complaint in done.stderr


def test_the_command_is_registered() -> None:
    entries = importlib.metadata.entry_points(group="turpin.commands")

    assert entries["simulate"].load() is app
