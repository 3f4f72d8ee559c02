"""What the suite says of a case: held, broken, skipped, and never in silence."""

from pathlib import Path

import msgspec
import pytest

from load.chaos.__main__ import Measured, keep_rows, shown, summary
from load.chaos.case import Case, Findings, Row, Setting, Skipped
from load.chaos.playing import play
from load.chaos.table import CASES


async def holds(setting: Setting, findings: Findings) -> None:
    findings.figures |= {"kills": 3, "lost": 0}
    findings.hold(True, "nothing")


async def breaks(setting: Setting, findings: Findings) -> None:
    findings.hold(False, "1 reward is lost")


async def raises(setting: Setting, findings: Findings) -> None:
    raise ExceptionGroup("two", [ValueError("first"), ExceptionGroup("more", [KeyError("second")])])


async def is_skipped(setting: Setting, findings: Findings) -> None:
    raise Skipped("not as this user")


@pytest.mark.parametrize(
    ("played", "mark", "broken"),
    [
        (holds, "held", []),
        (breaks, "BROKEN", ["1 reward is lost"]),
        (raises, "BROKEN", ["ValueError: first", "KeyError: 'second'"]),
        (is_skipped, "SKIPPED", []),
    ],
)
async def test_row_says_what_came_of_the_case(played: object, mark: str, broken: list[str], tmp_path: Path) -> None:
    case = Case("a case", "G1", "0 lost", played)  # type: ignore[arg-type]  # one of the four above
    row = await play(case, tmp_path, is_short=True, seed=1, tell=lambda _: None)

    assert row.broken == broken
    assert row.holds == (broken == [])
    assert shown(row).startswith(f"{mark:8}a case (G1)")
    assert all(law in shown(row) for law in broken)


async def test_summary_counts_kills_and_names_what_was_not_played(tmp_path: Path) -> None:
    cases = [Case("good", "G1", "", holds), Case("bad", "G2", "", breaks), Case("away", "R7", "", is_skipped)]
    rows = [await play(case, tmp_path, is_short=True, seed=1, tell=lambda _: None) for case in cases]
    words = summary(Measured(rows))

    assert "1 of 3 cases held, 3 SIGKILLs" in words
    assert "NOT PLAYED: away" in words
    assert "bad" not in words


def test_rows_of_cases_that_were_not_played_are_kept_and_others_replaced(tmp_path: Path) -> None:
    path = tmp_path / "results" / "chaos.json"
    first, second, third = (
        Row(case.name, case.numbers, case.wanted, {"lost": 0}, [], 1.0, {"commit": "a"}) for case in CASES[:3]
    )
    keep_rows(path, [second, third, msgspec.structs.replace(first, name="a case that is no more")])
    again = msgspec.structs.replace(second, figures={"lost": 1}, machine={"commit": "b"})
    keep_rows(path, [again, first])

    assert msgspec.json.decode(path.read_bytes(), type=Measured).cases == [first, again, third]
