"""`make learn`: measure every bar of the learning in simulation, print the table, and write it to load/results.

Results are kept by the hash of the code: what was interrupted goes on, and what is known is not computed again.
"""

import re
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from load.simulate.command import one_thread_each

_ROOT = Path(__file__).parents[2]
# A quarter of an hour with the table's own start and end.
_MINUTES = 14.0

Full = Annotated[bool, typer.Option("--full", help="All repetitions that the bars ask for: hours.")]
Minutes = Annotated[float, typer.Option("--minutes", min=0, help="Begin nothing new after this long; 0: never stop.")]
Only = Annotated[str, typer.Option("--only", help="Only rows whose name fits this regular expression.")]
Results = Annotated[Path, typer.Option("--results", help="Folder for learn.json and learn.md.")]
CacheFolder = Annotated[Path, typer.Option("--cache", help="Folder for what is known already.")]


def main(
    full: Full = False,
    minutes: Minutes = _MINUTES,
    only: Only = "",
    results: Results = _ROOT / "load" / "results",
    cache: CacheFolder = _ROOT / ".learn-cache",
) -> None:
    """Measure the table of bars."""
    one_thread_each()
    from rich.console import Console

    from load.learn import report
    from load.learn.cache import Cache, code_hash
    from load.learn.cell import Row
    from load.learn.table import PARTS, select
    from load.learn.work import do, missing

    began = time.monotonic()
    try:
        parts = select(PARTS, re.compile(only, re.IGNORECASE))
    except re.error as error:
        sys.stderr.write(f"--only must be a regular expression: {error}\n")
        raise typer.Exit(2) from error
    code = code_hash()
    known = Cache(cache, code)
    rows = [row for part in parts for row in part.rows if isinstance(row, Row)]
    jobs = missing(rows, known, is_full=full)
    is_done = do(jobs, known, 60 * minutes if minutes and not full else float("inf"))
    lines = report.lines_of(parts, known, is_full=full)
    report.show(lines, Console(width=None if sys.stdout.isatty() else 180))
    if not only:
        report.write(lines, results, code, time.monotonic() - began, is_full=full)
    if not is_done:
        sys.stderr.write("not all repetitions were made in time: run it again to go on\n")
    if any(line.verdict == "missed" and line.is_required for line in lines):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
