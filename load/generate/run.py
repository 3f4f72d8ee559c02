"""Sends requests at the times of a plan, whatever becomes of them, or keeps so many under way; counts what comes back.

Open loop: a latency runs from when a request was *meant* to be sent. A generator that waits for slow answers before it
sends the next request would leave out the very requests that had to wait.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from load.generate.histogram import Histogram


@dataclass(slots=True)
class Tally:
    """What became of the requests. Mutable: it only fills. `behind_s`: how late the latest was sent."""

    seconds: float = 0.0
    sent: int = 0
    unsent: int = 0
    behind_s: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    latencies: Histogram = field(default_factory=Histogram)

    def report(self) -> dict[str, Any]:
        """Return the numbers for people and programs: latencies are of answered requests, in milliseconds."""
        answered = self.outcomes["ok"]
        quantiles = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
        return {
            "seconds": round(self.seconds, 3),
            "sent": self.sent,
            "answered": answered,
            "failed": {name: count for name, count in sorted(self.outcomes.items()) if name != "ok"},
            "unsent": self.unsent,
            "behind_ms": round(self.behind_s * 1e3, 3),
            "answered_per_s": round(answered / self.seconds, 2) if self.seconds else 0.0,
            "latency_ms": {
                **{name: round(self.latencies.quantile_s(share) * 1e3, 3) for name, share in quantiles.items()},
                "mean": round(self.latencies.mean_s * 1e3, 3),
                "max": round(self.latencies.max_s * 1e3, 3),
            },
        }


def poisson(per_second: float, seconds: float, rng: random.Random) -> Iterator[float]:
    """Yield the times of a Poisson process, in seconds from its beginning."""
    at = rng.expovariate(per_second)
    while at < seconds:
        yield at
        at += rng.expovariate(per_second)


async def open_loop(
    send: Callable[[], Awaitable[str]],
    times: Iterator[float],
    *,
    in_flight_max: int,
    warm_up_s: float = 0.0,
    on_sent: Callable[[float], None] = lambda at: None,
    clock: Callable[[], float] | None = None,
) -> Tally:
    """Send a request at each of these times, in seconds from now; those meant for before `warm_up_s` are not counted.

    While `in_flight_max` are under way, a request is not sent and counted as unsent: memory is bounded, and nothing is
    made up. `clock` in seconds: the loop's own, which under uvloop ticks in milliseconds, unless a finer one is given.
    """
    clock = clock or asyncio.get_running_loop().time
    tally, began, in_flight, last = Tally(), clock(), 0, 0.0

    async def one(meant_at: float, *, is_counted: bool) -> None:
        nonlocal in_flight
        try:
            outcome = await send()
        finally:
            in_flight -= 1
        if is_counted:
            tally.outcomes[outcome] += 1
            if outcome == "ok":
                tally.latencies.add(clock() - meant_at)

    async with asyncio.TaskGroup() as tasks:
        for at in times:
            wait_s = began + at - clock()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            last, is_counted = at, at >= warm_up_s
            on_sent(at)
            if in_flight >= in_flight_max:
                tally.unsent += is_counted
                continue
            in_flight += 1
            tally.sent += is_counted
            tally.behind_s = max(tally.behind_s, clock() - began - at)
            tasks.create_task(one(began + at, is_counted=is_counted))
    tally.seconds = max(0.0, last - warm_up_s)
    return tally


async def closed_loop(
    send: Callable[[], Awaitable[str]],
    *,
    in_flight: int,
    seconds: float,
    warm_up_s: float = 0.0,
    clock: Callable[[], float] | None = None,
) -> Tally:
    """Keep so many requests under way; those answered before `warm_up_s` are not counted. `clock` as in `open_loop`."""
    clock = clock or asyncio.get_running_loop().time
    tally, began = Tally(), clock()
    ends_at = began + warm_up_s + seconds

    async def client() -> None:
        while (sent_at := clock()) < ends_at:
            outcome = await send()
            now = clock()
            if began + warm_up_s <= now < ends_at:
                tally.sent += 1
                tally.outcomes[outcome] += 1
                if outcome == "ok":
                    tally.latencies.add(now - sent_at)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(in_flight):
            tasks.create_task(client())
    tally.seconds = seconds
    return tally
