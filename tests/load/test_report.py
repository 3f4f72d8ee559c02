"""The report in words, lines and pictures."""

import io
from pathlib import Path

from rich.console import Console

from load.demo import picture, report, watch
from load.demo.books import Books
from load.demo.plan import ARMS
from load.demo.result import Run
from tests.load.runs import finished_run


def printed(run: Run) -> str:
    text = io.StringIO()
    report.show(run, Console(file=text, width=80))
    return text.getvalue()


def test_report_says_the_finding_and_the_money() -> None:
    text = " ".join(printed(finished_run()).split())

    assert "v2, the small CNN, earns most: settled after 10 s and 3,000 requests; unloaded: v1 and v3." in text
    assert "An equal split would have earned" in text
    assert "6,000 sent, 6,000 counted" in text


def test_report_fits_80_columns() -> None:
    assert max(len(line) for line in printed(finished_run()).splitlines()) <= 80
    assert "…" not in printed(finished_run())


def test_report_of_a_run_without_winner_claims_none() -> None:
    run = finished_run()
    run.state = None

    assert "No winner after 20 s of traffic." in printed(run)


def test_report_of_a_run_without_traffic_is_a_report() -> None:
    run = Run(seed=0, books=Books(ARMS, lambda: 0.0))

    assert "(no traffic)" in printed(run)


def test_sparklines_show_shares_over_time() -> None:
    lines = report.sparklines(finished_run().books)

    assert lines[1].startswith("  v2 ▃▃▃▃▃▃▃▃█")
    assert lines[1].endswith("100%")
    assert lines[0].endswith(" 0%")


def test_long_runs_are_drawn_in_steps_of_several_seconds() -> None:
    now = [0.0]
    books = Books(ARMS, lambda: now[0])
    books.start()
    for second in range(150):
        now[0] = float(second)
        books.answered("v1", is_right=True)

    series, step_s = report.shares_over_time(books, 60)

    assert step_s == 3
    assert series["v1"] == [1.0] * 50


def test_picture_is_drawn_as_svg_and_png(tmp_path: Path) -> None:
    svg, png = tmp_path / "report.svg", tmp_path / "report.png"

    picture.draw(finished_run(), (svg, png))

    assert png.read_bytes().startswith(b"\x89PNG")
    text = svg.read_text(encoding="utf-8")
    assert "v2, the small CNN, earns most" in text
    assert "a winner is found" in text
    assert "wide CNN" in text


def test_equal_runs_give_equal_pictures(tmp_path: Path) -> None:
    picture.draw(finished_run(), (tmp_path / "a.svg",))
    picture.draw(finished_run(), (tmp_path / "b.svg",))

    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_picture_of_a_run_without_traffic_can_be_drawn(tmp_path: Path) -> None:
    picture.draw(Run(seed=0, books=Books(ARMS, lambda: 0.0)), (tmp_path / "a.png",))

    assert (tmp_path / "a.png").exists()


def test_live_table_fits_80_columns_and_shows_what_counts() -> None:
    run = finished_run()
    assert run.state is not None
    text = io.StringIO()
    console = Console(file=text, width=80)

    console.print(watch.table(run.state, run.books, run.servers))

    shown = text.getvalue()
    assert "…" not in shown
    for expected in ("concluded", "6,000 requests, 0 failed", "0.87 [0.86, 0.88]", "retired, END", "0.10%"):
        assert expected in shown


def test_without_a_terminal_changes_are_said_once_in_plain_lines() -> None:
    run = finished_run()
    assert run.state is not None
    text = io.StringIO()
    console = Console(file=text, width=80)

    with watch.Watch(console, run.books) as shown:
        for _ in range(3):
            shown.show(run.state, run.servers)

    assert text.getvalue().count("\n") == 1
    assert "concluded: 6,000 requests" in text.getvalue()
