"""`make bench-profile`: how many calls a request makes within each system, and in whose code the time goes, by cProfile.

Time is what cProfile makes of it, several times too long: shares are to be compared, not microseconds. Calls are exact,
and do not depend on what else the machine does. Start-up is left out: each system runs twice, the second time with more
requests, and what differs is theirs.
"""

import asyncio
import contextlib
import pstats
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import uvloop
from rich.console import Console
from rich.table import Table

from load.bench.backend import backend as cheap_backend
from load.bench.backend import compiled
from load.bench.measure import CLASSES, IN_FLIGHT, OTHERS, asked_of, row_of
from load.bench.push import push
from load.bench.settings import CannotRun, check
from load.bench.systems import PROFILE, SYSTEMS, System

_PROFILED: Final = ("bare aiohttp json batch", "turpin rest", "bare grpc.aio batch", "turpin grpc front")
_FEW, _MANY = 2_000, 12_000
# In whose code a function is, by its file; what is in none of these is Python's, or written in C.
_PACKAGES: Final = ("aiohttp", "grpc", "serving", "router", "load/bench")
_PACKAGE: Final = re.compile(rf"(?:^|/)({'|'.join(_PACKAGES)})/")
_OTHER: Final = "the rest"


# As pstats has them, by file, line and name: calls, those that are not recursive, own seconds, and what else it knows.
Functions: TypeAlias = Mapping[tuple[str, int, str], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Spent:
    """Calls, and seconds of the functions themselves, by package."""

    calls: Counter[str]
    seconds: Counter[str]


def spent(stats: Functions) -> Spent:
    """Sum a profile's functions by package."""
    calls: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for (file, _, _), (_, count, own_s, *_) in stats.items():
        found = _PACKAGE.search(file)
        package = found[1] if found else _OTHER
        calls[package] += count
        seconds[package] += own_s
    return Spent(calls, seconds)


def of_requests(few: Spent, many: Spent, requests: int) -> list[tuple[str, float, float]]:
    """Return by package the calls of one request and its share of the time, from two profiles that differ by so many."""
    seconds = {name: many.seconds[name] - few.seconds[name] for name in many.seconds}
    total_s = sum(seconds.values())
    return [
        (name, (many.calls[name] - few.calls[name]) / requests, seconds[name] / total_s)
        for name in (*_PACKAGES, _OTHER)
        if many.calls[name] - few.calls[name] >= requests / 2
    ]


async def profiled(system: System, requests: int, folder: Path) -> Spent:
    """Run a system under cProfile, and send it so many requests."""
    path = folder / "profile"
    PROFILE.set(path)
    async with (
        cheap_backend(columns=CLASSES) as (backend, _),
        system.run(folder, backend) as running,
    ):
        asked = asked_of(running, row_of(running.model))
        await push(
            folder, running.address, asked, requests=requests, per_second=None, cores=OTHERS, in_flight=IN_FLIGHT
        )
    return spent(pstats.Stats(str(path)).stats)  # type: ignore[attr-defined]


async def _main() -> None:
    table = Table("system", "code of", "calls a request", "share of time", box=None)
    for system in (one for one in SYSTEMS if one.name in _PROFILED):
        with tempfile.TemporaryDirectory() as folder:
            few = await profiled(system, _FEW, Path(folder))
            many = await profiled(system, _MANY, Path(folder))
        rows = of_requests(few, many, _MANY - _FEW)
        table.add_row(system.name, "all", f"{sum(calls for _, calls, _ in rows):.0f}", "")
        for package, calls, share in rows:
            table.add_row("", package, f"{calls:.0f}", f"{share:.0%}")
    Console(width=None if sys.stdout.isatty() else 100).print(table)


def main() -> int:
    """Profile and show."""
    try:
        check(None)
        compiled()
    except CannotRun as error:
        sys.stderr.write(f"{error}\n")
        return 2
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main())
    return 0


if __name__ == "__main__":
    sys.exit(main())
