"""While the store is away a reading has what the gateway knows without it, and the experiments that were last seen."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from router.fronts.http import serve_http
from router.metrics import Metrics
from router.top.source import NotAllowed, Source

AWAY = {"type": "urn:turpin:problem:store_away", "detail": "the file is locked"}


class Gateway:
    """Answers what `turpin top` asks. Mutable: whether its store is there, which part of it fails, and the clock."""

    def __init__(self) -> None:
        self.fails = ""
        self.now = 100.0
        self.admin = ""

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix("/admin/v1")
        bodies: dict[str, Any] = {
            "/version": {"version": "1"},
            "/experiments": {"experiments": [{"name": "digits", "phase": "running"}]},
            "/experiments/digits/state": {"name": "digits", "phase": "running", "arms": []},
            "/experiments/digits/history": {"history": [{"now": 1.0, "what": "phase"}]},
            "/backends": {"backends": [{"name": "tfs-a"}]},
            "/prices": {"prices": [{"backend": "tfs-a"}]},
        }
        if path == "/metrics":
            from prometheus_client import generate_latest

            return web.Response(body=generate_latest(Metrics().registry))
        if self.fails and path.startswith("/experiments") and path.endswith(self.fails):
            return web.json_response(AWAY, status=503)
        return web.json_response(bodies[path])


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    made = Gateway()
    runner, port = await serve_http(made.application(), "127.0.0.1", 0, is_shared=False)
    made.admin = f"http://127.0.0.1:{port}"
    yield made
    await runner.cleanup()


@pytest.mark.parametrize("fails", ["/experiments", "/state", "/history"])
async def test_store_that_is_away_leaves_the_rest_and_what_was_seen(gateway: Gateway, fails: str) -> None:
    async with aiohttp.ClientSession() as session:
        source = Source(session, gateway.admin, "", unix_now=lambda: gateway.now)
        before = await source.read()
        gateway.fails, gateway.now = fails, 112.0
        away = await source.read()
        gateway.fails, gateway.now = "", 113.0
        back = await source.read()

    assert (before.store_away, before.seen_at) == ("", 100.0)
    assert (away.store_away, away.seen_at, away.at) == ("the file is locked", 100.0, 112.0)
    assert (away.experiments, away.events) == (before.experiments, before.events)
    assert [one["name"] for one in away.backends] == ["tfs-a"]
    assert away.traffic is not None
    assert away.document()["store_away"] == "the file is locked"
    assert (back.store_away, back.seen_at) == ("", 113.0)


async def test_view_that_begins_while_the_store_is_away_has_no_experiments(gateway: Gateway) -> None:
    gateway.fails = "/experiments"
    async with aiohttp.ClientSession() as session:
        found = await Source(session, gateway.admin, "", unix_now=lambda: gateway.now, experiment="digits").read()

    assert (found.experiments, found.seen_at, len(found.backends)) == ((), None, 1)


async def test_experiment_that_is_not_there_is_said(gateway: Gateway) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(NotAllowed, match="no experiment 'nobody'"):
            await Source(session, gateway.admin, "", unix_now=lambda: 0.0, experiment="nobody").read()
