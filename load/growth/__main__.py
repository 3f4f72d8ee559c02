"""`make bench-growth`: what a request costs with more arms, experiments, bytes, connections, rows in a batch; five minutes.

Each is varied alone. Prints the table with the slope of each, and keeps it in load/results/growth.json. More
GROWTH_ROUNDS say how far it repeats, each of all, so that a disturbance meets all of them; with fewer GROWTH_SECONDS, or
GROWTH_ONLY (a regular expression over what is varied), nothing is kept.
"""

import json
import re
import statistics
import sys
import tempfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from load.bench.settings import CannotRun, check, settings
from load.demo.signals import run_whole
from load.generate.machine import machine
from load.growth.measure import Cost, measure
from load.growth.points import AXES, points

_RESULTS: Final = Path(__file__).parents[1] / "results" / "growth.json"
_NUMBERS: Final = tuple(field.name for field in fields(Cost))
# Into a file as wide as it is.
_WIDTH: Final = 140


async def growth(only: re.Pattern[str], rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Measure all points, round after round, and return the medians of each with the spread of its processor time."""
    chosen = [(axis, value, point) for axis, value, point in points() if only.search(axis)]
    found: dict[tuple[str, int], list[Cost]] = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("growth", total=rounds * len(chosen))
        for _ in range(rounds):
            for axis, value, point in chosen:
                progress.update(bar, description=f"{axis} {value}")
                with tempfile.TemporaryDirectory() as folder:
                    found.setdefault((axis, value), []).append(await measure(point, seconds, Path(folder)))
                progress.advance(bar)
    return [_row(axis, value, costs) for (axis, value), costs in found.items()]


def _row(axis: str, value: int, costs: list[Cost]) -> dict[str, Any]:
    some = [asdict(cost) for cost in costs]
    medians = {name: round(statistics.median(one[name] for one in some), 3) for name in _NUMBERS}
    spread = [round(pick(one["cpu_us"] for one in some), 1) for pick in (min, max)]
    return {"axis": axis, "value": value, **medians, "cpu_us_spread": spread}


def slopes(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return for each thing varied the microseconds that one more of it costs a request: from the least to the most.

    What it costs at rest is left out: that grows with seconds, not with requests.
    """
    found = {}
    for axis in AXES:
        some = [(row["value"], row["cpu_us"] - row["rest_us"]) for row in rows if row["axis"] == axis]
        if len(some) > 1:
            found[axis] = (some[-1][1] - some[0][1]) / (some[-1][0] - some[0][0])
    return found


def show(result: dict[str, Any]) -> None:
    """Print the table and the slopes."""
    names = ("CPU us", "(spread)", "of it at rest", "req/s", "p50 ms", "p99 ms", "at rest ms/s", "ready s", "MB")
    table = Table("varied", "value", *names, box=None)
    for row in result["rows"]:
        low, high = row["cpu_us_spread"]
        numbers = (row[name] for name in _NUMBERS[1:])
        table.add_row(
            row["axis"], f"{row['value']:,}", f"{row['cpu_us']:,.0f}", f"{low:,.0f}-{high:,.0f}", *map(_short, numbers)
        )
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    console.print(table)
    for axis, slope in result["slopes_us"].items():
        console.print(f"one more of {axis}: {slope:.3g} us a request, without what it costs at rest")


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 or number == int(number) else f"{number:.2f}"


def main() -> int:
    """Measure, show, keep; 2 if it can't be measured."""
    try:
        chosen = settings("GROWTH", rounds=1, seconds=3.0)
        check(_RESULTS if chosen.is_whole else None)
    except CannotRun as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if not any(chosen.only.search(axis) for axis in AXES):
        sys.stderr.write(f"GROWTH_ONLY fits none of {', '.join(AXES)}\n")
        return 2
    # Before the bench makes a load itself.
    described = machine()
    rows = run_whole(growth(chosen.only, chosen.rounds, chosen.seconds))
    result = {"machine": described, "rows": rows, "slopes_us": slopes(rows)}
    show(result)
    if chosen.is_whole:
        _RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
