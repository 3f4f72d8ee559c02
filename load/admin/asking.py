"""Asks the admin port at fixed times, whatever becomes of what was asked before, and keeps how long each answer took."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import aiohttp

# What takes longer has failed.
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10.0)


@dataclass(slots=True)
class Times:
    """How long answers took, from when each was to be asked, in s by path. Mutable: it grows."""

    by_path: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failed: int = 0


async def ask(
    session: aiohttp.ClientSession,
    paths: Sequence[str],
    *,
    every_s: float,
    seconds: float,
    times: Times,
    clock: Callable[[], float],
) -> None:
    """Ask for one path after the other, each at its time; latencies begin then, so that waiting is not left out."""
    began = clock()
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(seconds / every_s)):
            due = began + number * every_s
            await asyncio.sleep(max(0.0, due - clock()))
            tasks.create_task(_one(session, paths[number % len(paths)], due, times, clock))


async def _one(session: aiohttp.ClientSession, path: str, due: float, times: Times, clock: Callable[[], float]) -> None:
    try:
        async with session.get(path, timeout=_TIMEOUT) as answer:
            await answer.read()
            is_well = answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        is_well = False
    if is_well:
        times.by_path[path].append(clock() - due)
    else:
        times.failed += 1


def at(share: float, found: Sequence[float]) -> float:
    """Return what a share of the values does not exceed; 0 without any."""
    ordered = sorted(found)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
