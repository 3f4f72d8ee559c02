"""Does what is still missing of the table, on all cores, until it is done or the time is over."""

import itertools
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass

from load.learn.cache import Cache
from load.learn.cell import Answer, Cell, Row
from load.learn.jobs import perform
from load.simulate.pool import bar, cores

# An answer, and the seconds it took.
Done = tuple[Answer, float]


@dataclass(frozen=True, slots=True)
class Job:
    """One repetition that is missing."""

    cell: Cell
    number: int


def missing(rows: Sequence[Row], cache: Cache, *, is_full: bool) -> list[Job]:
    """Return what is missing, in an order in which every row soon has something: a tenth of each cell after the other."""
    cells = list({cell.key: cell for row in rows for cell in row.cells}.values())
    wanted = {cell.key: cell.wanted(is_full=is_full) for cell in cells}
    jobs = [
        (number * 10 // wanted[cell.key], place, Job(cell, number))
        for place, cell in enumerate(cells)
        for number in range(wanted[cell.key])
        if number not in cache.answers(cell)
    ]
    # What measures time comes first, while nothing else runs.
    return [job for tenth, place, job in sorted(jobs, key=lambda entry: (not entry[2].cell.is_alone, *entry[:2]))]


def do(jobs: Sequence[Job], cache: Cache, seconds_max: float) -> bool:
    """Do the jobs and keep their answers; say whether all were done. After `seconds_max` no job is begun."""
    end = time.monotonic() + seconds_max
    alone = [job for job in jobs if job.cell.is_alone]
    together = [job for job in jobs if not job.cell.is_alone]
    done = 0
    with bar() as progress:
        task = progress.add_task("learning", total=len(jobs))
        for job, (answer, seconds) in itertools.chain(_alone(alone, end), _together(together, end)):
            cache.add(job.cell, job.number, answer, seconds)
            done += 1
            progress.advance(task)
    return done == len(jobs)


def _alone(jobs: Sequence[Job], end: float) -> Iterator[tuple[Job, Done]]:
    for job in jobs:
        if time.monotonic() >= end:
            return
        yield job, perform(job.cell.job, job.cell.parameters, job.number)


def _together(jobs: Sequence[Job], end: float) -> Iterator[tuple[Job, Done]]:
    if not jobs:
        return
    context = multiprocessing.get_context("spawn")
    waiting = iter(jobs)
    with ProcessPoolExecutor(cores(), mp_context=context) as pool:
        under_way: dict[Future[Done], Job] = {}
        while True:
            # A few more than there are cores, so that none waits for us; no more, so that the end comes in time.
            while len(under_way) < 2 * cores() and time.monotonic() < end and (job := next(waiting, None)) is not None:
                under_way[pool.submit(perform, job.cell.job, dict(job.cell.parameters), job.number)] = job
            if not under_way:
                return
            ended, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in ended:
                yield under_way.pop(future), future.result()
