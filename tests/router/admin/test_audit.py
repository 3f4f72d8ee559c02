"""Every route that changes something leaves one row in the audit: who, what, why, before, after; a refused call none."""

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from router.admin.routes import ROUTES, Route
from router.capture.messages import BeginCapture
from router.capture.shelf import Capture
from router.config.document import validate
from tests.router.admin.bench import CONFIG, EXPERIMENTS, MODELS, NOW, TOKEN, Answer, Bench, bench, specified
from tests.router.control.world import BACKEND
from tests.turpin.models import write_model
from turpin.packing import pack

WHY = "because we say so"
FED = "tfs-fed"


async def nothing(on: Bench) -> None:
    """No experiment."""


async def draft(on: Bench) -> None:
    assert (await on.call("POST", EXPERIMENTS, specified(1, 2))).status == 201


async def running(on: Bench) -> None:
    await on.started(1, 2)


def after(*orders: str) -> Callable[[Bench], Awaitable[None]]:
    """A running experiment that obeyed these orders."""

    async def prepare(on: Bench) -> None:
        await on.started(1, 2)
        for order in orders:
            path = f"{EXPERIMENTS}/digits{'/arms/v2' if order in ('drain', 'retire') else ''}:{order}"
            assert (await on.call("POST", path)).status == 200

    return prepare


async def waiting_price(on: Bench) -> None:
    """A price beyond the step waits where somebody leads."""
    await on.store.lease("leader", on.clock["now"], 1e9)
    for price in (0.5, 5.0):
        (on.folder / "prices.json").write_text(json.dumps({"k": price}))
        await on.feeds.read(f"file:{on.folder}/prices.json", None)
    await on.book.turn()


async def capturing(on: Bench) -> None:
    """A capture runs, known as `c`."""
    await on.started(1, 2)
    order = BeginCapture("c", "digits", (), None, (), 1.0, 9, NOW + 600.0)
    on.shelf.add(Capture(order, who="ops", why="", per_minute=60, now=NOW))


@dataclass(frozen=True, slots=True)
class Case:
    """How a route is brought to do something, and in which state it refuses the same call."""

    prepare: Callable[[Bench], Awaitable[None]]
    refused_in: Callable[[Bench], Awaitable[None]]
    what: str
    body: dict[str, Any] = field(default_factory=dict)
    query: str = ""


CASES = {
    "create_experiment": Case(nothing, draft, "create", specified(1, 2)),
    "replace_experiment": Case(running, after("stop", "archive"), "replace", specified(1, 2, 3)),
    "patch_experiment": Case(running, after("stop"), "patch", {"policy": {"floor": 0.02}}),
    "delete_experiment": Case(draft, running, "delete"),
    "start": Case(draft, running, "start"),
    "pause": Case(running, draft, "pause"),
    "resume": Case(after("pause"), running, "resume"),
    "stop": Case(running, draft, "stop"),
    "promote": Case(running, draft, "promote v2", {"arm": "v2"}),
    "rollback": Case(running, draft, "rollback"),
    "bypass": Case(running, draft, "bypass"),
    "archive": Case(after("stop"), running, "archive"),
    "drain_arm": Case(running, draft, "drain v2"),
    "restore_arm": Case(after("drain"), draft, "restore v2"),
    "retire_arm": Case(running, draft, "retire v2"),
    "accept_price": Case(waiting_price, nothing, f"accept price of {FED}"),
    "begin_capture": Case(running, capturing, "capture requests of digits", {"experiment": "digits"}),
    "stop_capture": Case(capturing, running, "stop capture of digits"),
    "delete_capture": Case(capturing, running, "delete capture of digits"),
    "put_version": Case(running, after("stop", "archive"), "deploy v7", query="?arm=v7&experiment=digits"),
}
WRITING = [route for route in ROUTES if route.method != "GET"]


@contextlib.asynccontextmanager
async def gateway(tmp_path: Path) -> AsyncIterator[Bench]:
    """A gateway that publishes, with a price from a feed."""
    (tmp_path / "publish").mkdir()
    managed = {"control": "managed", "models": MODELS, "publish": str(tmp_path / "publish")}
    price = {"feed": f"file:{tmp_path}/prices.json", "key": "k"}
    backends = {
        BACKEND: {"target": "tfs:1", "price_usd_per_hour": 0.5, **managed},
        FED: {"target": "tfs:2", "price_usd_per_hour": price},
    }
    async with bench(validate(type(CONFIG), {"store": "memory:", "backends": backends})) as on:
        on.folder = tmp_path
        yield on


async def call(on: Bench, route: Route, case: Case) -> Answer:
    """Call a route, with the reason in the header that all of them read."""
    path = (
        route.path.format(name="digits", arm="v2", model="digits", version="7", backend=FED, capture="c") + case.query
    )
    headers = {"Turpin-Reason": WHY}
    if route.media == "application/x-tar":
        return await upload(on, path, headers)
    if route.name in ("replace_experiment", "patch_experiment", "delete_experiment"):
        headers["If-Match"] = await on.etag()
    return await on.call(route.method, path, case.body, **headers)


async def upload(on: Bench, path: str, headers: dict[str, str]) -> Answer:
    made = pack(write_model(on.folder / "model"))
    sent = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/x-tar"} | headers
    async with on.session.put(path, data=b"".join(made.chunks()), headers=sent) as got:
        return Answer(got.status, await got.json(content_type=None), {})


async def audit(on: Bench) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (await on.call("GET", "/admin/v1/audit")).body["audit"]
    return rows


def test_every_route_that_writes_has_its_case() -> None:
    assert {route.name for route in WRITING} == set(CASES)


@pytest.mark.parametrize("route", WRITING, ids=lambda route: f"{route.method} {route.path}")
async def test_route_that_writes_leaves_one_row(route: Route, tmp_path: Path) -> None:
    case = CASES[route.name]
    async with gateway(tmp_path) as on:
        await case.prepare(on)
        known = await audit(on)
        done = await call(on, route, case)
        rows = (await audit(on))[len(known) :]

    assert done.status < 300, done.body
    (row,) = rows
    assert (row["at"], row["who"], row["role"], row["what"], row["why"]) == (NOW, "local", "admin", case.what, WHY)
    assert row["before"] != row["after"]


@pytest.mark.parametrize("route", WRITING, ids=lambda route: f"{route.method} {route.path}")
async def test_refused_call_leaves_no_row(route: Route, tmp_path: Path) -> None:
    case = CASES[route.name]
    async with gateway(tmp_path) as on:
        await case.refused_in(on)
        known = await audit(on)
        refused = await call(on, route, case)
        rows = await audit(on)

    assert refused.status in (404, 409), refused.body
    assert rows == known


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_dry_run_leaves_no_row(method: str, tmp_path: Path) -> None:
    async with gateway(tmp_path) as on:
        await running(on)
        known = await audit(on)
        shown = await on.call(method, f"{EXPERIMENTS}/digits?dryRun=true", specified(1, 2, 3))

        assert (shown.status, await audit(on)) == (200, known)
