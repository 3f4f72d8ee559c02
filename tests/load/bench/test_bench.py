"""The table of costs: bare gateways answer right, disagreements are noticed, and ratios are of medians."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from load.bench import processes
from load.bench.__main__ import _ADDED_MS, _RATIOS, ratios
from load.bench.envoy import configuration
from load.bench.measure import CLASSES, LOADS, Disagreement, Row, _agree, _reached, ask, row_of
from load.bench.picture import PICTURE, RESULTS, draw
from load.bench.profile import Functions, of_requests, spent
from load.bench.push import Pushed
from load.bench.systems import MODEL, SYSTEMS, Running
from load.bench.tables import summary
from load.generate.stand_in import StandIn
from load.ports import free_ports

SENT = row_of(MODEL)


@contextlib.asynccontextmanager
async def bare(kind: str, backend: str, folder: Path) -> AsyncIterator[Running]:
    named = {"batch": "bare grpc.aio batch", "proxy": "bare grpc.aio proxy", "rest": "bare aiohttp json batch"}
    system = next(one for one in SYSTEMS if one.name == named[kind])
    async with system.run(folder, backend) as running:
        yield running


@pytest.mark.parametrize("kind", ["batch", "proxy", "rest"])
async def test_bare_gateways_answer_each_its_own_row(kind: str, tmp_path: Path) -> None:
    async with StandIn(0.002, 0.0, columns=CLASSES) as backend, bare(kind, backend.address, tmp_path) as running:
        async with asyncio.TaskGroup() as asking:
            for _ in range(16):
                asking.create_task(ask(running, SENT, has_token=False))
        assert processes.cpu_s(running.pid) > 0
        assert processes.memory_mb(running.pid) > 10

    seen = backend.report()
    assert seen["rows"] == 16 * 20
    assert (seen["calls"] == seen["rows"]) == (kind == "proxy")


async def test_an_answer_without_a_token_is_noticed(tmp_path: Path) -> None:
    async with StandIn(0.0, 0.0, columns=CLASSES) as backend, bare("proxy", backend.address, tmp_path) as running:
        with pytest.raises(Disagreement, match="bad token"):
            await ask(running, SENT, has_token=True)


async def test_an_error_is_noticed(tmp_path: Path) -> None:
    async with StandIn(0.0, 0.0, rows_max=0) as backend, bare("proxy", backend.address, tmp_path) as running:
        with pytest.raises(Disagreement, match="Task size 1 is larger"):
            await ask(running, SENT, has_token=False)


@pytest.mark.parametrize(
    ("answered", "decided", "is_right"), [(12, 12, True), (11, 12, False), (12, 13, False), (12, 0, False)]
)
def test_what_the_gateway_counted_must_be_what_was_answered(answered: int, decided: int, is_right: bool) -> None:
    system = next(one for one in SYSTEMS if one.name == "turpin grpc front")
    pushed = Pushed([0.001] * 12, 1.0, missing=0)

    with contextlib.nullcontext() if is_right else pytest.raises(Disagreement):
        _agree(system, pushed, (100 + answered, 50 + decided), (100, 50))


def test_each_answer_must_have_been_at_the_backend_where_nobody_counts() -> None:
    _reached(SYSTEMS[0], 12, 12)
    with pytest.raises(Disagreement, match="12 answers, but 11 rows came to the backend"):
        _reached(SYSTEMS[0], 12, 11)


async def test_decisions_of_an_experiment_that_warms_are_not_counted() -> None:
    """All of those go to control: they cost less, and a calibration runs beside them."""
    lines = [
        f'turpin_decisions_total{{arm="{arm}",experiment="bench",mode="{mode}"}} {count}.0'
        for arm, mode, count in (("v1", "warmup", 1000), ("v1", "experiment", 20), ("v2", "experiment", 3))
    ]
    (port,) = free_ports(1)

    async def page(_: web.BaseRequest) -> web.Response:
        return web.Response(text="\n".join(lines))

    runner = web.ServerRunner(web.Server(page))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        running = Running("", 0, "bench", page=f"http://127.0.0.1:{port}/metrics")
        assert await running.decided() == 23
    finally:
        await runner.cleanup()


def row(system: str, cpu_us: float, load: str = "sat", p50_ms: float = 2.0) -> Row:
    return Row(system, load, cpu_us, rps=1.0, p50_ms=p50_ms, p99_ms=3.0, errors=0, rss_mb=50.0)


def test_ratios_are_of_medians_over_the_rounds() -> None:
    rows = [row("bare grpc.aio batch", cpu) for cpu in (90, 100, 1_000)] + [row("turpin grpc front", 120)] * 3

    found = summary(rows)

    assert found[0]["cpu_us"] == 100
    assert found[0]["cpu_us_spread"] == [90, 1_000]
    assert ratios(found) == {"turpin grpc front / bare grpc.aio batch, sat": {"measured": 1.2, "bar": 1.3}}
    assert json.dumps(found)


def test_the_picture_in_the_docs_is_of_the_kept_result(tmp_path: Path) -> None:
    draw(json.loads(RESULTS.read_text())["rows"], tmp_path / "speed.svg")

    assert (tmp_path / "speed.svg").read_text() == PICTURE.read_text()


def test_a_picture_shows_each_system_under_saturation(tmp_path: Path) -> None:
    draw(summary([row("turpin rest", 169), row("envoy", 28), row("envoy", 78, "lo")]), tmp_path / "some.svg")

    texts = (tmp_path / "some.svg").read_text()
    assert all(f">{text}<" in texts for text in ("turpin rest", "envoy", "169 µs, 1/s", "28 µs, 1/s"))
    assert "78 µs" not in texts


def test_latency_is_what_is_added_to_the_backend_alone() -> None:
    rows = [row("no gateway", 90, "one", 0.31), row("turpin envoy front", 300, "one", 0.92)]

    assert ratios(summary(rows)) == {"turpin envoy front - no gateway, one, p50 ms": {"measured": 0.61, "bar": 0.8}}


def test_what_is_compared_is_measured() -> None:
    loads = {system.name: system.loads for system in SYSTEMS}

    assert [
        (system, base, load)
        for system, base, load, _ in (*_RATIOS, *_ADDED_MS)
        if load not in loads[system] or load not in loads[base]
    ] == []
    assert {load for some in loads.values() for load in some} == set(LOADS)


def test_envoy_is_told_where_the_backend_is() -> None:
    clusters = configuration(1, "127.0.0.1:8500")["static_resources"]["clusters"]

    assert [one["load_assignment"]["endpoints"][0]["lb_endpoints"][0] for one in clusters] == [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 8500}}}}
    ] * 2


def test_a_quantile_is_one_of_the_answers() -> None:
    pushed = Pushed([0.001 * n for n in range(1, 101)], 1.0, 0)

    assert (pushed.quantile_s(0.5), pushed.quantile_s(0.99), pushed.quantile_s(1.0)) == pytest.approx((0.051, 0.1, 0.1))


def test_processor_time_of_a_child_that_has_ended_is_counted() -> None:
    before = processes.cpu_s(os.getpid())

    spins = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", spins], check=True)

    assert processes.cpu_s(os.getpid()) - before >= 0.25


def test_a_process_and_those_below_it_are_found() -> None:
    assert processes.tree(os.getpid())[0] == os.getpid()


def test_a_profile_is_of_the_requests_alone() -> None:
    def stats(requests: int) -> Functions:
        started: Functions = {("/lib/python3.11/json/decoder.py", 1, "decode"): (500, 500, 9.0, 9.0, {})}
        return {
            **started,
            ("/x/serving/queues.py", 1, "add"): (3 * requests, 3 * requests, 0.2 * requests, 1.0, {}),
            ("/lib/site-packages/aiohttp/web.py", 1, "run"): (requests, requests, 0.6 * requests, 1.0, {}),
            ("~", 0, "<built-in method len>"): (5 * requests, 5 * requests, 0.2 * requests, 1.0, {}),
        }

    rows = of_requests(spent(stats(100)), spent(stats(300)), 200)

    assert {name: calls for name, calls, _ in rows} == {"aiohttp": 1, "serving": 3, "the rest": 5}
    assert [share for _, _, share in rows] == pytest.approx([0.6, 0.2, 0.2])
