"""`make bench`: measure, print the table with its ratios, and keep it in load/results/bench.json.

BENCH_ROUNDS, BENCH_SECONDS and BENCH_ONLY (a regular expression over the names of systems) shorten it.
"""

import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import uvloop
from rich.console import Console
from rich.progress import Progress

from load.bench.measure import LOADS, Row, measure
from load.bench.systems import ENVOY_FRONT, SYSTEMS, System
from load.bench.tables import console, summary, table
from load.generate.machine import machine
from router.fronts.envoy.start import missing

_RESULTS: Final = Path(__file__).parents[1] / "results" / "bench.json"
# What is divided by what, under which load, and the bar.
_RATIOS: Final = (
    ("turpin grpc front", "bare grpc.aio batch", "sat", 1.3),
    ("turpin grpc pass-through", "bare grpc.aio proxy", "sat", 1.15),
    ("turpin rest", "bare aiohttp json batch", "sat", 1.4),
    ("turpin envoy front", "turpin grpc front", "sat", 0.6),
    ("turpin envoy front", "turpin grpc front", "lo", 1.0),
    ("turpin envoy front", "envoy", "sat", 4.0),
)


async def bench(systems: list[System], rounds: int, seconds: float) -> list[Row]:
    """Measure all systems under all loads, round after round, so that a disturbance meets all of them."""
    found: list[Row] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("bench", total=rounds * len(systems) * len(LOADS))
        for _ in range(rounds):
            for load in LOADS:
                for system in systems:
                    progress.update(bar, description=f"{system.name}, {load}")
                    with tempfile.TemporaryDirectory() as folder:
                        found.append(await measure(system, load, seconds, Path(folder)))
                    progress.advance(bar)
    return found


def ratios(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return processor time against processor time, with each bar, where both were measured."""
    cpu_us = {(row["system"], row["load"]): row["cpu_us"] for row in rows}
    return {
        f"{system} / {base}, {load}": {"measured": round(cpu_us[system, load] / cpu_us[base, load], 2), "bar": bar}
        for system, base, load, bar in _RATIOS
        if (system, load) in cpu_us and (base, load) in cpu_us
    }


def show(result: dict[str, Any]) -> None:
    """Print the table and its ratios."""
    out = console()
    out.print(table(result["rows"]))
    for name, ratio in result["ratios"].items():
        mark = "met" if ratio["measured"] <= ratio["bar"] else "NOT MET"
        out.print(f"{name}: {ratio['measured']} (bar {ratio['bar']}) {mark}")


def main() -> int:
    """Measure, show, keep; 1 if a bar is not met."""
    only = re.compile(os.environ.get("BENCH_ONLY", ""))
    systems = [system for system in SYSTEMS if only.search(system.name)]
    if reason := missing():
        systems = [system for system in systems if system.name != ENVOY_FRONT]
        sys.stderr.write(f"{ENVOY_FRONT} is left out: {reason}\n")
    if not systems:
        sys.stderr.write(f"BENCH_ONLY fits none of {', '.join(system.name for system in SYSTEMS)}\n")
        return 2
    rounds, seconds = int(os.environ.get("BENCH_ROUNDS", "3")), float(os.environ.get("BENCH_SECONDS", "4"))
    rows = summary(uvloop.run(bench(systems, rounds, seconds)))
    described = machine()
    result = {"machine": described, "commit": described["commit"], "rows": rows, "ratios": ratios(rows)}
    show(result)
    if not only.pattern:
        _RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if all(one["measured"] <= one["bar"] for one in result["ratios"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
