"""`turpin simulate`: the production learner in a world made up. Importing this module must stay cheap."""

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from load.simulate.run import Result
    from load.simulate.world import World

_BAD_INPUT = 2

EXAMPLE = "Example: turpin simulate load/worlds/watch.yaml --runs 20"

WorldFile = Annotated[str, typer.Argument(metavar="WORLD.yaml", help="The world, see load/worlds/; - is stdin.")]
Runs = Annotated[int, typer.Option("--runs", min=1, max=100_000, help="How many runs, each with its own randomness.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")]


def app(world: WorldFile, runs: Runs = 1, seed: Seed = 0, as_json: AsJson = False) -> None:
    """Let the production learner learn in a simulated world: regret, weights, when it stops and on which arm."""
    one_thread_each()
    checked = _checked(world)
    from load.simulate.answer import answer
    from load.simulate.pool import Task, results

    found = dict(results([Task(checked, seed, number) for number in range(runs)]))
    ordered = [found[number] for number in range(runs)]
    if as_json:
        sys.stdout.write(json.dumps(answer(ordered), allow_nan=False) + "\n")
    else:
        _show(ordered)


def one_thread_each() -> None:
    """Keep numpy's library to one thread a process: its matrices are small here, and the processes are many.

    It reads this when it is imported, here and in the processes that are spawned.
    """
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def _checked(path: str) -> "World":
    """Return the world; leave the program with all that is wrong with it."""
    from load.simulate.baselines import is_baseline
    from load.simulate.production import experiment_of
    from load.simulate.world import load_world, read_world
    from router.config.document import BadInput

    try:
        world = read_world(sys.stdin.read()) if path == "-" else load_world(path)
        if not is_baseline(world):
            experiment_of(world)
    except BadInput as error:
        for problem in error.problems:
            sys.stderr.write(f"turpin simulate: {problem}\n")
        raise typer.Exit(_BAD_INPUT) from error
    return world


def _show(ordered: "Sequence[Result]") -> None:
    """Write a line a run, and the means."""
    from rich.console import Console
    from rich.table import Table

    from load.simulate.answer import answer

    table = Table(box=None, pad_edge=False)
    for column in ("run", "regret", "leader", "right", "stopped at", "shares"):
        table.add_column(column, justify="right")
    for number, result in enumerate(ordered):
        table.add_row(
            str(number),
            f"{result.regret:,.1f}",
            str(result.leader),
            "yes" if result.leader in result.best else "no",
            "-" if result.stopped_at is None else f"{result.stopped_at:,}",
            " ".join(f"{share:.3f}" for share in result.shares),
        )
    whole = answer(ordered)
    mean, se = whole["mean"], whole["se"]
    regret = f"regret {mean['regret']:,.1f}" + ("" if se["regret"] is None else f" ± {se['regret']:,.1f}")
    stops = f"stopped {mean['stopped']:.0%}" + (f" at {mean['stopped_at']:,.0f}" if mean["stopped_at"] else "")
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    console.print(f"mean: {regret}, right {mean['right']:.0%}, {stops}", highlight=False)
