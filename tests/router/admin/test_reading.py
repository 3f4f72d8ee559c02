"""The admin port shows what the leader published, from any gateway on the store, and refuses in problem documents."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from bandits.life import Note
from router.admin.application import application
from router.admin.backends import Backends
from router.admin.gate import Gate
from router.admin.health import Health
from router.admin.money import Money
from router.admin.reading import Reading
from router.admin.reports import Reports
from router.admin.routes import ROUTES
from router.aggregate import Aggregate
from router.config.settings import Admin
from router.control.dossier import encode
from router.control.feeds import Feeds
from router.fronts.http import serve_http
from router.metrics import Metrics, snapshot
from router.snapshot import encode as encode_snapshot
from router.store.memory import MemoryStore
from serving.cost import Line
from tests.router.control.test_report import ARM, STATE
from tests.router.control.world import EPOCH, World, spec

PORT_STATE = STATE | {"snapshot_version", "snapshot_age_s"}
EXPERIMENTS = "/admin/v1/experiments"


class Bench:
    """An admin port over a store in which an experiment runs. Mutable: its parts, and whether the gateway is ready."""

    def __init__(self) -> None:
        self.store, self.metrics, self.aggregate = MemoryStore(), Metrics(), Aggregate()
        self.is_ready = True
        self.world = World(spec(), (0.90, 0.93, 0.935), (Line(0.001, 0.0002), Line(0.001, 0.0), Line(0.001, 0.001)))
        self.gate = Gate(Admin())
        self.health = Health(
            store=self.store,
            aggregate=self.aggregate,
            metrics=self.metrics,
            is_ready=lambda: self.is_ready,
            unix_now=self.now,
        )

    def now(self) -> float:
        """A moment after the last refresh."""
        return self.world.now + 1.5

    def application(self) -> web.Application:
        """The admin port."""
        reading = Reading(store=self.store, unix_now=self.now)
        parts = (
            self.health,
            reading,
            Reports(store=self.store, unix_now=self.now),
            Money(Feeds({}, now=self.now), dict, store=self.store, unix_now=self.now),
            Backends(lambda: [{"name": "tfs-a"}], aggregate=self.aggregate, metrics=self.metrics),
        )
        handlers = [part.handlers() for part in parts]
        names = {name for part in handlers for name in part}
        return application(self.gate, *handlers, routes=[route for route in ROUTES if route.name in names])

    async def publish(self, ticks: int) -> None:
        """Let the experiment go on, and write what a leader writes."""
        await self.store.open()
        fence = await self.store.lease("leader", self.world.now, 1e9)
        assert fence is not None
        for _ in range(ticks):
            refreshed = self.world.tick()
            for note in refreshed.notes:
                await self.store.append_history("digits", msgspec.json.encode(note), fence)
        document = encode(self.world.dossier.document)
        await self.store.save_experiment("digits", document, 0, fence)
        await self.store.publish("digits", self.world.version, encode_snapshot(self.world.published[-1]), fence)


Answer = tuple[int, Any, dict[str, str]]


@contextlib.asynccontextmanager
async def listening(app: web.Application) -> AsyncIterator[aiohttp.ClientSession]:
    """The application on a free port, and a session that knows it."""
    runner, port = await serve_http(app, "127.0.0.1", 0, is_shared=False)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            yield session
    finally:
        await runner.cleanup()


async def get(session: aiohttp.ClientSession, path: str, method: str = "GET", **headers: str) -> Answer:
    async with session.request(method, path, headers=headers) as answer:
        raw = await answer.read()
        is_json = answer.content_type.endswith(("/json", "+json"))
        named = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, json.loads(raw) if is_json else raw.decode(), named


def ask(path: str, *, ticks: int = 10, on: Bench | None = None, method: str = "GET", **headers: str) -> Answer:
    """Publish, and ask once."""
    bench = on or Bench()

    async def play() -> Answer:
        await bench.publish(ticks)
        async with listening(bench.application()) as session:
            return await get(session, path, method, **headers)

    return asyncio.run(play())


@pytest.mark.parametrize("ticks", [1, 10, 60])
def test_state_has_every_field_with_its_version_and_age(ticks: int) -> None:
    on = Bench()

    status, state, _ = ask(f"{EXPERIMENTS}/digits/state", on=on, ticks=ticks)

    assert status == 200
    assert set(state) >= PORT_STATE
    assert all(set(arm) >= ARM for arm in state["arms"])
    assert (state["snapshot_version"], state["snapshot_age_s"]) == (ticks, 1.5)
    assert (state["phase"], state["epoch"]) == (on.world.phase, f"{EPOCH:016x}")


def test_experiments_are_listed_in_brief() -> None:
    _, listed, _ = ask(EXPERIMENTS)

    (one,) = listed["experiments"]
    assert (one["name"], one["model"], one["phase"], one["control"]) == ("digits", "digits", "running", "v1")
    brief = {"name", "model", "phase", "control", "leader", "winner", "outcome"}
    assert set(one) == brief | {"bypassed", "alarms", "shares", "money"}
    assert sum(one["shares"].values()) == pytest.approx(1.0)
    assert one["money"]["requests"] > 0


def test_experiment_is_shown_as_the_store_has_it_with_its_revision_as_etag() -> None:
    on = Bench()

    status, shown, headers = ask(f"{EXPERIMENTS}/digits", on=on)

    assert (status, shown["revision"], headers["etag"]) == (200, 1, f'"{EPOCH:016x}-1"')
    assert shown["spec"] == on.world.dossier.document.spec
    assert shown["epoch"] == f"{EPOCH:016x}"


def test_history_is_told_oldest_first() -> None:
    _, history, _ = ask(f"{EXPERIMENTS}/digits/history", ticks=60)

    notes = msgspec.convert(history["history"], list[Note])
    phases = [note.after for note in notes if note.what == "phase"]
    assert phases[0] == "running"
    assert phases[-2:] == ["draining", "concluded"]


@pytest.mark.parametrize("path", ["digits-2", "digits-2/state"])
def test_experiment_that_does_not_exist_is_not_found(path: str) -> None:
    status, problem, headers = ask(f"{EXPERIMENTS}/{path}")

    assert (status, problem["type"]) == (404, "urn:turpin:problem:not_found")
    assert problem["detail"] == "there is no experiment 'digits-2'"
    assert headers["content-type"].startswith("application/problem+json")


def test_history_of_an_experiment_that_does_not_exist_is_not_found() -> None:
    assert ask(f"{EXPERIMENTS}/digits-2/history")[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "status", "label", "words"),
    [
        # As of a command that is told the wrong one of two ports.
        ("POST", "/v1/rewards:batch", 404, "not_found", "POST /v1/rewards:batch is not offered on this port"),
        ("PUT", EXPERIMENTS, 405, "method_not_allowed", f"PUT {EXPERIMENTS}: GET,HEAD is taken here"),
    ],
)
def test_what_is_not_offered_is_a_problem(method: str, path: str, status: int, label: str, words: str) -> None:
    found, problem, headers = ask(path, method=method)

    assert (found, problem["status"], problem["type"]) == (status, status, f"urn:turpin:problem:{label}")
    assert problem["detail"] == words
    assert (headers.get("allow") == "GET,HEAD") == (status == 405)


@pytest.mark.parametrize("path", [EXPERIMENTS, f"{EXPERIMENTS}/digits", f"{EXPERIMENTS}/digits/state"])
def test_store_that_is_away_is_said_so_with_a_time_to_come_again(path: str) -> None:
    on = Bench()

    async def play() -> tuple[Answer, Answer]:
        await on.publish(5)
        await on.store.close()
        async with listening(on.application()) as session:
            return await get(session, path), await get(session, "/metrics")

    refused, scraped = asyncio.run(play())
    assert (refused[0], refused[1]["type"]) == (503, "urn:turpin:problem:store_away")
    assert refused[2]["retry-after"] == "1"
    # A scrape goes on: what it tells of processes needs no store.
    assert scraped[0] == 200


def test_snapshot_that_can_not_be_read_is_a_fault_that_hides_nothing_else() -> None:
    on = Bench()

    async def play() -> tuple[Answer, Answer]:
        await on.publish(5)
        fence = await on.store.lease("leader", on.world.now, 1e9)
        await on.store.publish("digits-3", 6, b'{"later": "version"}', fence or 0)
        async with listening(on.application()) as session:
            return await get(session, f"{EXPERIMENTS}/digits-3/state"), await get(session, "/metrics")

    (status, problem, _), scraped = asyncio.run(play())
    assert (status, problem["type"]) == (500, "urn:turpin:problem:fault")
    assert "later" not in problem["detail"]
    assert scraped[0] == 200
    assert 'turpin_experiment_phase{experiment="digits",phase="running"} 1.0' in scraped[1]


def test_scrape_adds_up_all_processes_and_shows_the_experiment() -> None:
    on = Bench()
    worker = Metrics()
    worker.retries.labels("digits").inc(2)
    on.aggregate.update("0:1", snapshot(worker.registry))
    on.aggregate.update("1:2", snapshot(worker.registry))

    status, text, headers = ask("/metrics", on=on)

    assert (status, headers["content-type"].split(";")[0]) == (200, "text/plain")
    assert 'turpin_retries_total{experiment="digits"} 4.0' in text
    assert 'turpin_experiment_phase{experiment="digits",phase="running"} 1.0' in text
    assert 'turpin_arm_state{arm="v1",experiment="digits",state="eligible"} 1.0' in text


def test_scrape_speaks_openmetrics_to_those_who_ask() -> None:
    _, text, headers = ask("/metrics", Accept="application/openmetrics-text; version=1.0.0")

    assert headers["content-type"].startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


@pytest.mark.parametrize(("is_ready", "status"), [(True, 200), (False, 503)])
def test_readiness_is_that_of_the_workers(is_ready: bool, status: int) -> None:
    on = Bench()
    on.is_ready = is_ready

    assert ask("/readyz", on=on, ticks=1)[:2] == (status, {"ready": is_ready})
    assert ask("/healthz", ticks=1)[:2] == (200, {"status": "ok"})


async def test_port_of_its_own_for_metrics_shows_nothing_else() -> None:
    on = Bench()
    await on.publish(5)
    async with listening(on.health.metrics_application(on.gate)) as session:
        statuses = {path: (await get(session, path))[0] for path in ("/metrics", EXPERIMENTS, "/healthz")}

    assert statuses == {"/metrics": 200, EXPERIMENTS: 404, "/healthz": 404}


def test_backends_are_shown_as_the_control_process_sees_them() -> None:
    status, body, _ = ask("/admin/v1/backends")

    nothing: dict[str, Any] = {"in_flight": None, "slots": None, "batches": 0, "rows": 0, "limits": []}
    assert (status, body) == (200, {"backends": [{"name": "tfs-a", "batching": nothing}]})


def test_backends_show_how_requests_are_batched_by_all_workers() -> None:
    on = Bench()
    for source in ("0:1", "1:2"):
        worker = Metrics()
        worker.batch_rows.labels("tfs-a").observe(4)
        worker.batch_slots.labels("tfs-a").set(2)
        worker.batches_in_flight.labels("tfs-a").set(1)
        worker.batch_limit_rows.labels("tfs-a", "digits", "2").set(16)
        on.aggregate.update(source, snapshot(worker.registry))

    (shown,) = ask("/admin/v1/backends", on=on)[1]["backends"]

    limits = [{"model": "digits", "version": "2", "rows_max": 16}]
    assert shown["batching"] == {"in_flight": 2, "slots": 4, "batches": 2, "rows": 8, "limits": limits}
