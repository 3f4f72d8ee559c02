"""Many runs on all cores: processes that are spawned, and a bar on stderr that tells how far they are."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from load.simulate.run import Result, run
from load.simulate.world import World


@dataclass(frozen=True, slots=True)
class Task:
    """One run to be made: of which world, with which seed, the how manyth, and whether its path is wanted."""

    world: World
    seed: int
    number: int
    has_path: bool = False


def cores() -> int:
    """Return how many processes may run at once."""
    return len(os.sched_getaffinity(0))


def play(task: Task) -> Result:
    """Make one run; at the top of a module, so that another process finds it."""
    return run(task.world, task.seed, task.number, has_path=task.has_path)


def results(tasks: Sequence[Task], title: str = "simulating") -> Iterator[tuple[int, Result]]:
    """Yield (place in `tasks`, result) as runs end: one alone in this process, several on all cores.

    Closing the iterator early leaves nothing running but the runs under way.
    """
    if len(tasks) == 1:
        yield 0, play(tasks[0])
        return
    # Spawned: whatever this process has (threads of numpy, gRPC) is not copied.
    context = multiprocessing.get_context("spawn")
    with bar() as progress, ProcessPoolExecutor(min(cores(), len(tasks)), mp_context=context) as pool:
        waiting = progress.add_task(title, total=len(tasks))
        try:
            futures = {pool.submit(play, task): place for place, task in enumerate(tasks)}
            for future in as_completed(futures):
                progress.advance(waiting)
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def bar() -> Progress:
    """Return a progress bar on stderr, which only a terminal shows."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
