"""Calls of the bench of the admin port go out at their times, and what is not answered well is no latency."""

import asyncio

import aiohttp
import pytest
from aiohttp import web

from load.admin.__main__ import Measured, Row
from load.admin.asking import Times, ask, at


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 3.0), (0.99, 4.0), (1.0, 4.0)])
def test_share_of_values_is_not_exceeded(share: float, value: float) -> None:
    assert at(share, [4.0, 1.0, 3.0, 2.0]) == value


def test_nothing_takes_no_time() -> None:
    assert at(0.99, []) == 0.0


async def test_slow_answers_do_not_hold_up_later_calls_and_bad_ones_are_counted() -> None:
    slow = asyncio.Event()
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path == "/slow":
            # Answered once everything has been asked.
            await slow.wait()
        elif len(asked) == 6:
            slow.set()
        return web.Response(status=500 if request.path == "/bad" else 200)

    app = web.Application()
    app.router.add_get("/{path}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    times = Times()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
        paths = ("/slow", "/bad", "/well")
        await ask(session, paths, every_s=0.01, seconds=0.06, times=times, clock=asyncio.get_running_loop().time)
    await runner.cleanup()

    assert sorted(asked) == sorted(paths * 2)
    assert times.failed == 2
    assert {path: len(found) for path, found in times.by_path.items()} == {"/slow": 2, "/well": 2}
    # The first waited for the last.
    assert max(times.by_path["/slow"]) > 0.04


@pytest.mark.parametrize(
    ("all_ms", "scrape_ms", "failed", "is_kept"),
    [(49.0, 49.0, 0, True), (51.0, 1.0, 0, False), (1.0, 51.0, 0, False), (1.0, 1.0, 1, False)],
)
def test_bars_are_those_of_the_issue(all_ms: float, scrape_ms: float, failed: int, is_kept: bool) -> None:
    rows = [Row("/x", 1, 1.0, 1.0, 1.0)]

    assert Measured({}, 50, 1_000.0, "", all_ms, scrape_ms, failed, 0.1, 0.0, rows).is_kept == is_kept
