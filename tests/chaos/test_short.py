"""The short form of `make chaos`: a few of its cases on real processes; every law must hold."""

import shutil
from pathlib import Path

import pytest

from load.chaos.case import Case
from load.chaos.playing import play
from load.chaos.table import CASES

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


@pytest.mark.parametrize("case", [case for case in CASES if case.is_in_short], ids=lambda case: case.name)
async def test_case_of_the_short_form_holds(case: Case, tmp_path: Path) -> None:
    row = await play(case, tmp_path, is_short=True, seed=1, tell=lambda _: None)
    if row.skipped:
        assert shutil.which("redis-server") is None, row.skipped
        pytest.skip(row.skipped)

    assert row.broken == []
    assert row.figures
