"""`turpin deploy` and `turpin rollback`: what they send, what they write where, and with which exit code they end."""

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner, Result

from router.cli import app
from tests.turpin import models
from tests.turpin.gateway import Script, Scripted, problem, scripted

RUNNING = {"model": "digits", "version": 7, "state": "running", "step": "load", "digest": "sha256:ab"}
DONE = RUNNING | {"state": "done", "step": "join"}
ROLLED = {"phase": "draining", "reason": "rolled back by ops", "arms": [{"name": "v1", "state": "eligible"}]}


def run(port: Scripted, *arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--admin", port.url, "--token", "secret"])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return models.write_model(tmp_path / "model")


def test_deploy_writes_data_to_stdout_and_steps_to_stderr(model: Path) -> None:
    with scripted(Script(202, RUNNING), Script(200, RUNNING), Script(200, DONE)) as port:
        result = run(port, "deploy", "digits", model, "--as", "v7", "--experiment", "digits", "--json")

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == DONE
    assert result.stderr.splitlines() == ["1/6 upload", "3/6 load", "6/6 join"]
    assert port.asked[0].path == "/admin/v1/models/digits/versions/7?arm=v7&experiment=digits"


def test_deploy_says_in_words_what_came_of_it(model: Path) -> None:
    with scripted(Script(200, DONE)) as port:
        result = run(port, "deploy", "digits", model, "--as", "candidate", "--version", "7")

    assert result.stdout == "candidate is version 7 of digits, sha256:ab\n"


def test_deploy_asks_for_a_comparison_and_says_what_it_showed(model: Path) -> None:
    compared = {"compared": 50, "agreement": 0.98, "errors": {"backend": 2}}
    shadow = {"shadow": {"requests": 50}}
    with scripted(Script(202, RUNNING | shadow), Script(200, DONE | shadow | {"comparison": compared})) as port:
        result = run(port, "deploy", "digits", model, "--as", "v7", "--shadow", "50", "--min-agreement", "0.9")

    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1] == "50 requests compared, agreement 0.98, 2 not answered"
    assert result.stderr.splitlines() == ["1/7 upload", "3/7 load", "7/7 join"]
    query = parse_qs(urlsplit(port.asked[0].path).query)
    assert json.loads(query["shadow"][0]) == {"requests": 50, "min_agreement": 0.9}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--as", "v7", "--min-agreement", "0.9"], "--min-agreement wants --shadow N"),
        (["--as", "eight"], "say which version it is to be, version=7 (--version 7)"),
        (["--as", "v7", "--version", "0"], "greater than or equal to 1"),
        ([], "Missing option '--as'"),
    ],
)
def test_bad_arguments_end_with_2(model: Path, arguments: list[str], word: str) -> None:
    with scripted(Script(200, DONE)) as port:
        result = run(port, "deploy", "digits", model, *arguments)

    assert (result.exit_code, port.asked) == (2, [])
    assert word in result.stderr


def test_folder_that_is_no_saved_model_ends_with_2(tmp_path: Path) -> None:
    with scripted(Script(200, DONE)) as port:
        result = run(port, "deploy", "digits", tmp_path, "--as", "v7")

    assert result.exit_code == 2
    assert result.stderr == f"turpin: {tmp_path} is no SavedModel: there is no saved_model.pb in it\n"


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (problem(422, "invalid", "wrong", errors=[{"field": "arm", "message": "is taken"}]), 2, "arm: is taken"),
        (problem(409, "state_conflict", "version 7 exists already"), 1, "version 7 exists already"),
        (problem(403, "forbidden", "this wants the role admin"), 1, "this wants the role admin"),
        (problem(500, "fault", "a \x1b[31mfault"), 1, "a ?[31mfault"),
        (Script(200, RUNNING | {"state": "failed", "error": "no such op"}), 1, "load failed: no such op"),
    ],
)
def test_refusals_are_told_in_the_gateway_s_words(model: Path, answer: Script, code: int, words: str) -> None:
    with scripted(answer) as port:
        result = run(port, "deploy", "digits", model, "--as", "v7")

    assert result.exit_code == code
    assert result.stderr.splitlines()[-1] == f"turpin: {words}"


def test_rollback_names_a_revision_and_a_reason() -> None:
    with scripted(Script(200, ROLLED)) as port:
        result = run(port, "rollback", "digits", "--to", "3", "--reason", "worse")

    assert (result.exit_code, result.stdout) == (0, "digits: draining, rolled back by ops\n  v1: eligible\n")
    assert json.loads(port.asked[0].body) == {"reason": "worse", "revision": 3}


def test_rollback_that_does_not_fit_the_state_ends_with_1() -> None:
    with scripted(problem(409, "state_conflict", "the experiment is archived")) as port:
        result = run(port, "rollback", "digits", "--json")

    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "turpin: the experiment is archived\n")
