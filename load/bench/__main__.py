"""`make bench`: measure, print the table with its ratios, keep it in load/results/bench.json, and draw it.

BENCH_ROUNDS, BENCH_SECONDS and BENCH_ONLY (a regular expression over the names of systems) shorten it; what was shortened is
printed and not kept.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress

from load.bench.backend import compiled
from load.bench.measure import LOADS, Row, measure
from load.bench.picture import PICTURE, RESULTS, draw
from load.bench.settings import CannotRun, check, settings
from load.bench.systems import ENVOY_FRONT, SYSTEMS, System
from load.bench.tables import console, summary, table
from load.demo.signals import run_whole
from load.generate.machine import machine
from router.fronts.envoy.start import missing

# What is divided by what, under which load, and the bar.
_RATIOS: Final = (
    ("turpin grpc front", "bare grpc.aio batch", "sat", 1.3),
    ("turpin grpc pass-through", "bare grpc.aio proxy", "sat", 1.15),
    ("turpin rest", "bare aiohttp json batch", "sat", 1.4),
    ("turpin envoy front", "turpin grpc front", "sat", 0.6),
    ("turpin envoy front", "turpin grpc front", "lo", 1.0),
    ("turpin envoy front", "envoy", "sat", 4.0),
)


# What one request at a time takes longer, in milliseconds, and the bar: half of the answers.
_ADDED_MS: Final = ((ENVOY_FRONT, "no gateway", "one", 0.8),)


async def bench(systems: list[System], rounds: int, seconds: float) -> list[Row]:
    """Measure all systems under all loads, round after round, so that a disturbance meets all of them."""
    found: list[Row] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("bench", total=rounds * sum(len(system.loads) for system in systems))
        for _ in range(rounds):
            for load in LOADS:
                for system in (one for one in systems if load in one.loads):
                    progress.update(bar, description=f"{system.name}, {load}")
                    with tempfile.TemporaryDirectory() as folder:
                        found.append(await measure(system, load, seconds, Path(folder)))
                    progress.advance(bar)
    return found


def ratios(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return processor time against processor time, and time against time, with each bar, where both were measured."""
    by_place = {(row["system"], row["load"]): row for row in rows}
    found = {}
    for compared in (*_RATIOS, *_ADDED_MS):
        system, base, load, bar = compared
        ours, others = by_place.get((system, load)), by_place.get((base, load))
        if ours is None or others is None:
            continue
        if compared in _RATIOS:
            measured = {"measured": round(ours["cpu_us"] / others["cpu_us"], 2), "bar": bar}
            found[f"{system} / {base}, {load}"] = measured
        else:
            measured = {"measured": round(ours["p50_ms"] - others["p50_ms"], 2), "bar": bar}
            found[f"{system} - {base}, {load}, p50 ms"] = measured
    return found


def show(result: dict[str, Any]) -> None:
    """Print the table and its ratios."""
    out = console()
    out.print(table(result["rows"]))
    for name, ratio in result["ratios"].items():
        mark = (
            "met"
            if ratio["measured"] <= ratio["bar"]
            else "NOT MET: docs/explanation/speed.md says what stands in the way"
        )
        out.print(f"{name}: {ratio['measured']} (bar {ratio['bar']}) {mark}")


def main() -> int:
    """Measure, show, keep; 1 if a bar is not met, 2 if it can't be measured."""
    try:
        chosen = settings("BENCH", rounds=3, seconds=4.0)
        check(RESULTS if chosen.is_whole else None)
        compiled()
    except CannotRun as error:
        sys.stderr.write(f"{error}\n")
        return 2
    systems = [system for system in SYSTEMS if chosen.only.search(system.name)]
    if reason := missing():
        systems = [system for system in systems if system.name != ENVOY_FRONT]
        sys.stderr.write(f"{ENVOY_FRONT} is left out: {reason}\n")
    if not systems:
        sys.stderr.write(f"BENCH_ONLY fits none of {', '.join(system.name for system in SYSTEMS)}\n")
        return 2
    # Before the bench makes a load itself.
    described = machine()
    rows = summary(run_whole(bench(systems, chosen.rounds, chosen.seconds)))
    result = {"machine": described, "commit": described["commit"], "rows": rows, "ratios": ratios(rows)}
    show(result)
    if chosen.is_whole:
        RESULTS.write_text(json.dumps(result, indent=2) + "\n")
        draw(rows, PICTURE)
    return 0 if all(one["measured"] <= one["bar"] for one in result["ratios"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
