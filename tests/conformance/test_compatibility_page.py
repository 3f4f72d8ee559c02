"""docs/reference/compatibility.md says what these tests show, and nothing else."""

import re
from pathlib import Path

import typer

from serving.local import command
from tests.conformance.test_backend_errors import SAID
from tests.conformance.test_grpc_errors import REFUSALS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "compatibility.md").read_text(encoding="utf-8")


def lines() -> set[str]:
    return set(PAGE.splitlines())


def test_every_refusal_is_a_row_and_every_row_a_refusal() -> None:
    tested = {
        f"| {refusal.method} | {name.rpartition(', ')[2]} | {refusal.code} | `{refusal.words.strip()}` |"
        for name, refusal in REFUSALS.items()
        if name != "long message"
    }
    written = {
        line for line in lines() if re.match(r"\| (Predict|Classify|Regress|MultiInference|GetModel\w+) \|", line)
    }

    assert written == tested


def test_every_word_of_a_backend_is_a_row() -> None:
    tested = {f"| {code.name} | `{words}` |" for code, words in SAID}

    assert tested <= lines()


def test_every_flag_is_named() -> None:
    app = typer.Typer()
    app.command()(command.app)
    flags = {
        flag for parameter in typer.main.get_command(app).params for flag in parameter.opts if "completion" not in flag
    }
    section = PAGE.partition("## Flags of the embedded model server")[2].partition("\n## ")[0]

    assert set(re.findall(r"--\w+", section)) == flags - {"--help", "--host"}


def test_every_case_names_a_test_that_exists() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| \d+ \|", line)]
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = [name for row in rows for name in re.findall(r"`(test_\w+)`", row)]

    assert [int(row.split("|")[1]) for row in rows] == list(range(1, 26))
    assert all(re.search(r"`test_\w+`", row) for row in rows)
    assert [name for name in named if f"def {name}(" not in tests] == []
