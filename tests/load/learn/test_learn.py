"""The table of bars: kept results, going on where it ended, and rows that fail when the learner does."""

import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from load.learn import cache, jobs, report, work
from load.learn.__main__ import main
from load.learn.cache import Cache
from load.learn.cell import Answer, Cell, Elsewhere, Part, Row, simulated
from load.learn.judge import Demand, share_at_most, worst_at_most
from load.learn.table import PARTS
from load.simulate.policy import Turn
from load.simulate.production import Production

ROOT = Path(__file__).parents[3]


def cell(runs: int = 3, name: str = "decide") -> Cell:
    return Cell("draw", {"arms": 2, "name": name}, runs, 10)


def largest(answers: Sequence[Sequence[Answer]]) -> list[Demand]:
    return [worst_at_most("error", [answer["error"] for answer in answers[0]], 1.0)]


def row(of: Cell, *, is_required: bool = False) -> Row:
    return Row("a row", "<= 1", (of,), largest, is_required=is_required, note="because")


def test_every_row_has_its_bar_and_names_of_its_own() -> None:
    rows = [row for part in PARTS for row in part.rows]

    assert all(row.bar for row in rows)
    assert len({row.name for row in rows}) == len(rows)
    assert {row.name for row in rows if isinstance(row, Row) and row.is_required} >= {
        "day cycle, +5 %, K=2, 300k, no stop",
        "stop, day cycle, +5 %, K=2",
        "stop, day cycle, +20 %, K=5",
        "equal arms, 100 looks",
        "price flip, 20 % of value",
        "equal arms, one 50 times slower, 500k",
    }


def test_tests_that_hold_a_bar_exist() -> None:
    places = [row.where for part in PARTS for row in part.rows if isinstance(row, Elsewhere)]

    assert places
    assert all((ROOT / place).exists() for where in places for place in where.split(", "))


def test_jobs_of_all_rows_exist() -> None:
    named = {cell.job for part in PARTS for row in part.rows if isinstance(row, Row) for cell in row.cells}

    assert named <= set(jobs.JOBS)


def test_what_is_known_is_not_computed_again_and_what_is_missing_is(tmp_path: Path) -> None:
    known = Cache(tmp_path, "code")
    known.add(cell(), 1, {"error": 0.5}, 0.1)

    again = Cache(tmp_path, "code")

    assert again.answers(cell()) == {1: {"error": 0.5}}
    assert [job.number for job in work.missing([row(cell())], again, is_full=False)] == [0, 2]
    assert len(work.missing([row(cell())], again, is_full=True)) == 9
    assert Cache(tmp_path, "other code").answers(cell()) == {}


def test_other_parameters_are_another_cell() -> None:
    assert cell(name="a").key != cell(name="b").key
    assert cell(runs=1).key == cell(runs=2).key


def test_a_line_cut_off_by_a_kill_is_made_again(tmp_path: Path) -> None:
    known = Cache(tmp_path, "code")
    known.add(cell(), 0, {"error": 0.5}, 0.1)
    [path] = (tmp_path / "code").iterdir()
    path.write_text(path.read_text() + '{"number": 1, "sec')

    assert Cache(tmp_path, "code").answers(cell()) == {0: {"error": 0.5}}


def test_results_of_old_code_are_thrown_away_in_the_end(tmp_path: Path) -> None:
    for number in range(8):
        Cache(tmp_path, f"code {number}")

    assert len(list(tmp_path.iterdir())) <= 5
    assert (tmp_path / "code 7").exists()


def test_any_change_of_the_learner_is_other_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bandits").mkdir()
    (tmp_path / "bandits" / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(cache, "_ROOT", tmp_path)
    before = cache.code_hash()

    (tmp_path / "bandits" / "a.py").write_text("x = 2\n")

    assert cache.code_hash() != before


def test_work_is_done_and_kept_until_the_time_is_over(tmp_path: Path) -> None:
    of = row(Cell("draw", {"arms": 2}, 2, 2, is_alone=True))
    known = Cache(tmp_path, "code")

    assert not work.do(work.missing([of], known, is_full=False), known, 0.0)
    assert known.answers(of.cells[0]) == {}
    assert work.do(work.missing([of], known, is_full=False), known, 60.0)
    assert set(known.answers(of.cells[0])) == {0, 1}
    assert work.missing([of], Cache(tmp_path, "code"), is_full=False) == []


def test_verdicts_reach_the_table_the_files_and_the_exit(tmp_path: Path) -> None:
    known = Cache(tmp_path / "cache", "code")
    bad, good, unknown = cell(1, "bad"), cell(2, "good"), cell(1, "unknown")
    known.add(bad, 0, {"error": 2.0}, 0.1)
    known.add(good, 0, {"error": 0.5}, 0.1)
    parts = [Part("Errors", (row(bad, is_required=True), row(good), row(unknown), Elsewhere("e", "b", "tests")))]

    lines = report.lines_of(parts, known, is_full=False)
    report.write(lines, tmp_path, "code", 1.0, is_full=False)
    shown = StringIO()
    report.show(lines, Console(file=shown, width=160))

    assert [line.verdict for line in lines] == ["missed", "met", "waiting", "elsewhere"]
    assert lines[0].note == "because"
    assert lines[1].note == ""
    document = json.loads((tmp_path / "learn.json").read_text())
    assert [line["verdict"] for line in document["rows"]] == ["missed", "met", "waiting", "elsewhere"]
    written = (tmp_path / "learn.md").read_text()
    assert "| a row * | <= 1 | error 2 (bar <= 1)<br>because | 1 | missed |" in written
    assert "| a row | <= 1 | error 0.5 | 1/2 | met |" in written
    assert "1 met, 1 missed, 1 waiting, 1 elsewhere" in shown.getvalue()


def test_what_the_learner_refuses_waits_and_says_why(tmp_path: Path) -> None:
    known, of = Cache(tmp_path, "code"), simulated("day-k2", 1, 1, arms=[{"rate": 2.0}, {"rate": 0.1}])

    known.add(of, 0, *jobs.perform(of.job, of.parameters, 0))
    [line] = report.lines_of([Part("p", (row(of),))], known, is_full=False)

    assert line.verdict == "waiting"
    assert "must be in 0..1; got 2" in line.seen[0]


def test_with_a_stub_for_the_learner_the_row_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The learner is the one that runs in production: an even split in its place ends nowhere and pays for it."""
    of = simulated("stop-20", 1, 1, requests=30_000, block=1000, arms=[{"rate": 0.2}, {"rate": 0.4}])

    def even(self: Production, now: int, *_: object) -> Turn:
        return Turn((1 << 30, 1 << 30), 1)

    honest, _ = jobs.perform(of.job, of.parameters, 0)
    monkeypatch.setattr(Production, "turn", even)
    stubbed, _ = jobs.perform(of.job, of.parameters, 0)

    assert share_at_most("not stopped", honest["stopped_at"] is None, 1, 0.0).verdict == "met"
    assert share_at_most("not stopped", stubbed["stopped_at"] is None, 1, 0.0).verdict == "missed"
    # An even split gives up a tenth of a reward per request, in this part of the cycle 1.36 times as much.
    assert honest["regret"] < 600 < 3000 < stubbed["regret"]


def test_the_command_prints_some_rows_and_leaves_the_files_alone(tmp_path: Path) -> None:
    commands = typer.Typer()
    commands.command()(main)

    done = CliRunner().invoke(
        commands,
        ["--only", "draw of an arm", "--cache", str(tmp_path / "cache"), "--results", str(tmp_path / "results")],
    )

    assert done.exit_code == 0, done.output
    assert "draw of an arm" in done.stdout
    assert not (tmp_path / "results").exists()


def test_an_expression_that_is_none_is_bad_input(tmp_path: Path) -> None:
    commands = typer.Typer()
    commands.command()(main)

    done = CliRunner().invoke(commands, ["--only", "(", "--cache", str(tmp_path)])

    assert done.exit_code == 2
    assert "--only must be a regular expression" in done.stderr
