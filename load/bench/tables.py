"""Medians over the rounds of a bench, and the table that is printed of them."""

import statistics
import sys
from dataclasses import fields
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from load.bench.measure import Row

_NUMBERS: Final = tuple(field.name for field in fields(Row) if field.name not in ("system", "load"))


def summary(rows: list[Row]) -> list[dict[str, Any]]:
    """Return medians over the rounds, and of the processor time the lowest and the highest, too."""
    places = list(dict.fromkeys((row.system, row.load) for row in rows))
    found = []
    for system, load in places:
        some = [row for row in rows if (row.system, row.load) == (system, load)]
        medians = {name: round(statistics.median(getattr(row, name) for row in some), 2) for name in _NUMBERS}
        spread = [round(pick(row.cpu_us for row in some), 1) for pick in (min, max)]
        found.append({"system": system, "load": load, **medians, "cpu_us_spread": spread})
    return found


def table(rows: list[dict[str, Any]]) -> Table:
    """Return a line for each row."""
    found = Table("system", "load", "CPU us", "(spread)", "req/s", "p50 ms", "p99 ms", "errors", "MB", box=None)
    for row in rows:
        low, high = row["cpu_us_spread"]
        numbers = (row["rps"], row["p50_ms"], row["p99_ms"], row["errors"], row["rss_mb"])
        found.add_row(
            row["system"], row["load"], f"{row['cpu_us']:.0f}", f"{low:.0f}-{high:.0f}", *map(_short, numbers)
        )
    return found


def console() -> Console:
    """Return where it is printed: into a file as wide as it is."""
    return Console(width=None if sys.stdout.isatty() else 140)


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 or number == int(number) else f"{number:.2f}"
