"""`make bench-costs`: whether the arms come in the same order of cost under any load.

Trials with the demo's models on an embedded model server, each with a fresh gateway: saturated, at 150 requests/s, and
beside a busy neighbour. Prints the table, and writes it to load/results.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from load.costs.orders import Trial, disagreeing
from load.demo.signals import run_whole

_ROOT = Path(__file__).parents[2]

Trials = Annotated[int, typer.Option("--trials", min=1, help="Of each kind of load.")]
Seconds = Annotated[float, typer.Option("--seconds", min=1, help="Of traffic in each trial.")]
PortBase = Annotated[int, typer.Option("--port-base", help="Five ports in a row, from this one.")]
Results = Annotated[Path, typer.Option("--results", help="Folder for costs.json.")]


class Measured(msgspec.Struct, frozen=True):
    """What is written: the circumstances, and every trial."""

    cpus: int
    seconds: float
    disagreeing: int
    trials: list[Trial]


def main(
    trials: Trials = 5, seconds: Seconds = 10.0, port_base: PortBase = 18800, results: Results = _ROOT / "load/results"
) -> None:
    """Make all trials; fails when not all of them give the same order."""
    from load.costs.trials import measure

    with tempfile.TemporaryDirectory(prefix="turpin-costs-") as root:
        found = run_whole(measure(Path(root), port_base=port_base, trials=trials, seconds=seconds))
    odd = disagreeing(found)
    for trial in sorted(found, key=lambda one: one.condition):
        costs = "  ".join(f"{arm} {1e9 * cost:8.1f}" for arm, cost in trial.costs_usd.items())
        sys.stdout.write(
            f"{trial.condition:40}{costs}  n$ at {trial.reference_rows:3} rows  {' < '.join(trial.order)}"
            f"  {trial.answered} answered, {trial.failed} failed, machine load {trial.load_average:.1f}"
            f"{'  OTHERS SAY OTHERWISE' if trial in odd else ''}\n"
        )
    sys.stdout.write(f"{len(found) - len(odd)} of {len(found)} trials give the same order\n")
    results.mkdir(parents=True, exist_ok=True)
    written = msgspec.json.format(
        msgspec.json.encode(Measured(os.cpu_count() or 0, seconds, len(odd), found)), indent=2
    )
    (results / "costs.json").write_bytes(written + b"\n")
    if odd:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
