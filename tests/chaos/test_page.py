"""The page of what was tried shows the figures that were measured, and no others."""

import msgspec
import pytest

from load.chaos.__main__ import Measured
from load.chaos.case import Row
from load.chaos.page import BEGIN, END, PAGE, RESULTS, table, with_table
from load.chaos.table import CASES

MACHINE = {"cpus": 2, "load": [1.5, 2.0, 3.25], "python": "3.11.7", "commit": "abc1234"}
GOOD = Row("good", "G1", "0 lost", {"kills": 1200, "lost": 0, "p99 ms": 1.5}, [], 2.0, MACHINE)


def measured(*rows: Row) -> Measured:
    return Measured(list(rows))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (GOOD, "| good | G1 | 0 lost | kills 1,200, lost 0, p99 ms 1.5 | held | abc1234, 1.5 on 2 cores |"),
        (msgspec.structs.replace(GOOD, broken=["1 lost"]), "| **broken** |"),
        (msgspec.structs.replace(GOOD, figures={}, skipped="not as this user"), "| not as this user | not played |"),
    ],
)
def test_row_says_what_was_found(row: Row, words: str) -> None:
    assert words in table(measured(row))


def test_what_all_say_together_stands_above_the_table() -> None:
    words = table(measured(GOOD, msgspec.structs.replace(GOOD, broken=["1 lost"])))

    assert words.startswith("1 of 2 cases held, in 4 s, with 2400 SIGKILLs")


def test_page_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for the table"):
        with_table(f"words {BEGIN}", measured(GOOD))
    assert with_table(f"a\n{BEGIN}old\n{END}b\n", measured(GOOD)).startswith(f"a\n{BEGIN}\n1 of 1 cases held")


def test_page_shows_what_was_measured() -> None:
    kept = msgspec.json.decode(RESULTS.read_bytes(), type=Measured)
    page = PAGE.read_text(encoding="utf-8")

    assert with_table(page, kept) == page, "python -P -m load.chaos.page"
    assert [row.name for row in kept.cases] == [case.name for case in CASES], "make chaos, then load.chaos.page"
