"""The generator in virtual time: it sends when it is meant to, whatever becomes of the others."""

import asyncio
import math
import random

import pytest

from load.generate.run import Tally, closed_loop, open_loop, poisson
from tests.simulated_loop import run_simulated


def test_a_server_that_stalls_makes_all_late_who_were_meant_to_be_sent() -> None:
    async def stalls() -> str:
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(1.0 if now < 1.0 else 0.001)
        return "ok"

    async def one_at_a_time() -> Tally:
        lock = asyncio.Lock()

        async def send() -> str:
            async with lock:
                return await stalls()

        return await open_loop(send, iter([number / 10 for number in range(20)]), in_flight_max=100)

    tally = run_simulated(one_at_a_time())

    assert (tally.sent, tally.outcomes["ok"], tally.unsent) == (20, 20, 0)
    # A closed loop would have seen one slow answer; ten were meant to be sent while the server stalled.
    assert 0.45 <= tally.latencies.mean_s * 20 / 10 <= 0.6
    assert tally.latencies.max_s == pytest.approx(1.0)


def test_what_is_not_sent_is_said() -> None:
    async def hangs() -> str:
        await asyncio.sleep(10.0)
        return "DEADLINE_EXCEEDED"

    tally = run_simulated(open_loop(hangs, iter([0.1 * number for number in range(10)]), in_flight_max=4))

    assert (tally.sent, tally.unsent, dict(tally.outcomes)) == (4, 6, {"DEADLINE_EXCEEDED": 4})
    assert tally.report()["answered"] == 0


def test_the_warm_up_is_not_counted() -> None:
    async def send() -> str:
        await asyncio.sleep(0.01)
        return "ok"

    times = [0.5, 1.5, 2.5]
    tally = run_simulated(open_loop(send, iter(times), in_flight_max=4, warm_up_s=1.0))

    assert (tally.sent, tally.seconds) == (2, 1.5)


def test_a_closed_loop_keeps_as_many_under_way() -> None:
    under_way, seen = 0, set()

    async def send() -> str:
        nonlocal under_way
        under_way += 1
        await asyncio.sleep(0.1)
        seen.add(under_way)
        under_way -= 1
        return "ok"

    tally = run_simulated(closed_loop(send, in_flight=3, seconds=1.0, warm_up_s=0.55))

    assert max(seen) == 3
    assert tally.outcomes["ok"] == 30
    assert tally.report()["answered_per_s"] == 30.0


def test_arrivals_are_as_many_as_asked_for() -> None:
    times = list(poisson(100.0, 100.0, random.Random(1)))

    assert times == sorted(times)
    assert abs(len(times) - 10_000) <= 4 * math.sqrt(10_000)
