"""`turpin plan`: how long, for how much, and "it can't be decided" where it can't; clear words for bad input."""

import importlib.metadata
import json
import math
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from load.plan.command import app
from load.plan.words import sentences

EXPERIMENT = """
name: digits
model: digits
control: v1
arms: [{name: v1, backend: tfs-a, version: 1}, {name: v2, backend: tfs-a, version: 2}]
objective: {value_usd: 0.001}
stop: {max_duration: 3d}
"""


def run(*options: str, text: str = "") -> Result:
    commands = typer.Typer()
    commands.command()(app)
    return CliRunner().invoke(commands, list(options), input=text)


def plan(*options: str, text: str = "") -> Any:
    done = run(*options, "--json", text=text)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def said(found: Any) -> str:
    return " ".join(sentences(found))


def test_it_is_a_command_of_turpin() -> None:
    [entry] = importlib.metadata.entry_points(group="turpin.commands", name="plan")

    assert entry.value == "load.plan.command:app"


def test_a_wide_gap_is_decided_after_the_rhythm_has_been_seen() -> None:
    found = plan("--rates", "0.2,0.3", "--per-day", "20000", "--runs", "2", "--max-days", "2")

    assert found["is_decided"] is True
    assert found["reason"] is None
    assert (found["best"], found["ended"], found["right"], found["runs"]) == (1, 1.0, 1.0, 2)
    assert found["gap"] == pytest.approx(0.1 / 0.3)
    assert 1.0 <= found["days"]["low"] <= found["days"]["median"] <= found["days"]["high"] < 1.1
    assert found["requests"]["median"] == pytest.approx(20000 * found["days"]["median"])
    assert 0 < found["cost_usd"] < found["even_split_usd"] == pytest.approx(40000 * 0.05, rel=0.01)
    assert [arm["name"] for arm in found["arms"]] == ["arm 0", "arm 1"]


def test_a_gap_that_needs_more_traffic_is_said_to_need_it() -> None:
    found = plan("--rates", "0.001,0.0013", "--per-day", "2000", "--runs", "1", "--max-days", "3")

    assert (found["is_decided"], found["reason"]) == (False, "time")
    assert found["requests"] is None
    assert found["formula"]["days"] > found["max_days"]
    assert "can't be decided within 3 days: 0% of 1 simulated runs ended. It would take about" in said(found)


def test_a_gap_below_what_the_experiment_looks_for_is_said_to_be_undecidable() -> None:
    options = ("--rates", "0.3,0.3001", "--per-day", "500000", "--cycle-days", "0")

    found = plan(*options, "--runs", "12", "--max-days", "1")

    # Each run ends on either arm as a coin falls: eleven of twelve on the better one happen once in 315.
    assert (found["is_decided"], found["reason"], found["ended"]) == (False, "gap", 1.0)
    # Textbook: 2 arms of variance pq each, (1.645 + 1.282)^2 (2 pq) / gap^2 each.
    assert found["to_tell"]["requests"] == pytest.approx(2 * 2.927**2 * 2 * 0.3 * 0.7 / 1e-4**2, rel=0.01)
    assert "It can't be decided: the gap is smaller than what the experiment looks for" in said(found)


def test_equal_arms_are_called_equal() -> None:
    found = plan("--rates", "0.3,0.3", "--per-day", "50000", "--runs", "2", "--max-days", "2")

    assert (found["is_decided"], found["reason"]) == (False, "equal")
    assert found["to_tell"] == {"requests": None, "days": None}
    assert found["cost_usd"] == 0


def test_a_file_brings_arms_worth_and_rules() -> None:
    found = plan("-", "--per-day", "50000", "--uplift", "0.2", "--runs", "2", text=EXPERIMENT)

    assert [arm["name"] for arm in found["arms"]] == ["v1", "v2"]
    assert [arm["rate"] for arm in found["arms"]] == pytest.approx([0.05, 0.06])
    assert found["arms"][1]["value_usd"] == pytest.approx(0.06 * 0.001)
    assert found["max_days"] == 3
    assert found["days"]["low"] >= 1


def test_options_win_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").write_text(EXPERIMENT)

    found = plan(
        *(str(tmp_path / "digits.yaml"), "--per-day", "50000", "--rates", "0.3,0.5", "--costs", "0,0.0001"),
        *("--cycle-days", "0", "--max-days", "1", "--value-usd", "0.01", "--runs", "2"),
    )

    assert found["arms"][1] == {"name": "v2", "rate": 0.5, "cost_usd": 0.0001, "value_usd": pytest.approx(0.0049)}
    assert found["days"]["high"] < 1


def test_a_gateways_configuration_with_one_experiment_in_it_will_do() -> None:
    experiment = json.dumps({"backends": {}, "experiments": [_as_json()]})

    assert plan("-", "--per-day", "50000", "--uplift", "0.5", "--runs", "1", text=experiment)["best"] == 1


def _as_json() -> dict[str, Any]:
    return {
        "name": "digits",
        "model": "digits",
        "control": "v1",
        "arms": [{"name": name, "backend": "a", "version": number} for number, name in enumerate(("v1", "v2"))],
        "objective": {"value_usd": 0.001},
    }


def test_a_thousand_requests_a_second_can_be_planned() -> None:
    found = plan("--rates", "0.83,0.96", "--per-day", "86.4e6", "--cycle-days", "0", "--runs", "1")

    assert found["is_decided"] is True
    assert found["days"]["median"] < 1


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (("--per-day", "1000"), "--rates must say"),
        (("--rates", "0.1,x", "--per-day", "1000"), "--rates must be numbers"),
        (("--rates", "0.1", "--per-day", "1000"), "arms"),
        (("--rates", "0.1,1.2", "--per-day", "1000"), "must be in 0..1; got 1.2"),
        (("--rates", "0.1,nan", "--per-day", "1000"), "arms[1].rate"),
        (("--rates", "0.1,0.2", "--per-day", "0"), "--per-day must be a finite number above 0, got 0"),
        (("--rates", "0.1,0.2", "--per-day", "inf"), "--per-day must be"),
        (("--rates", "0.1,0.2", "--per-day", "1e12"), "per-day: must be at most"),
        (("--rates", "0.1,0.2", "--per-day", "1000", "--max-days", "-1"), "--max-days must be"),
        (("--rates", "0.1,0.2", "--per-day", "1000", "--cycle-days", "-1"), "--cycle-days must be"),
        (("--rates", "0.1,0.2", "--per-day", "1000", "--value-usd", "nan"), "--value-usd must be"),
        (("--rates", "0.1,0.2", "--costs", "1", "--per-day", "1000"), "--costs must have a cost for each"),
        (("/nowhere/e.yaml", "--per-day", "1000"), "can't read /nowhere/e.yaml: No such file or directory"),
        (("-", "--per-day", "1000", "--rates", "0.1"), "--rates must have a rate for each of the 2 arms"),
    ],
)
def test_bad_input_is_refused_by_name(options: tuple[str, ...], wanted: str) -> None:
    done = run(*options, text=EXPERIMENT)

    assert done.exit_code == 2
    assert wanted in done.stderr
    assert done.stdout == ""


def test_words_say_when_and_for_how_much() -> None:
    done = run("--rates", "0.2,0.3", "--per-day", "20000", "--runs", "1", "--max-days", "2")

    assert done.exit_code == 0
    assert "arm 1 earns most, 0.33 of its value more than the next." in done.stdout
    assert "It will take 1 day (1 day to 1 day), 2" in done.stdout


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ("mode: always_on", "always_on never ends"),
        ("nonsense: 1", "nonsense"),
    ],
)
def test_a_file_that_cannot_be_planned_is_refused(change: str, wanted: str) -> None:
    done = run("-", "--per-day", "1000", text=EXPERIMENT + change)

    assert done.exit_code == 2
    assert wanted in done.stderr


def test_the_same_seed_gives_the_same_plan() -> None:
    options = ("--rates", "0.2,0.3", "--per-day", "5000", "--runs", "1", "--max-days", "2")

    first, again, other = (plan(*options, "--seed", seed) for seed in ("3", "3", "4"))

    assert first == again
    assert first["cost_usd"] != other["cost_usd"]
    assert math.isfinite(other["cost_usd"])
