"""The table of other servers: whole, asked right, counted right, ended whole."""

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from aiohttp import web

from load.bench.measure import CLASSES, Disagreement, Row, numbers
from load.bench.peers import measure, messages
from load.bench.peers.__main__ import ratios
from load.bench.peers.environments import Environment, NotInstalled, installed
from load.bench.peers.programs import _alive, _born, program
from load.bench.peers.servers import work
from load.bench.peers.table import BARS, GRPC_FRONT, PEERS, REST_FRONT, Peer, Place
from load.bench.systems import ENVOY_FRONT, SYSTEMS
from load.bench.tables import summary, table
from load.ports import free_ports

SERVERS = Path(work.__file__).parent
ROW = numbers().astype(np.float32)[:, :CLASSES]
BY_NAME = {peer.name: peer for peer in PEERS}


def place(folder: Path) -> Place:
    return Place(folder / "bin", (1, 2, 3), folder)


def test_each_server_of_the_issue_has_a_row_and_each_bar_its_systems() -> None:
    known = {system.name for system in SYSTEMS} | set(BY_NAME)

    assert len(BY_NAME) == len(PEERS)
    assert {peer.environment.name for peer in PEERS} == {"mosec", "bentoml", "litserve", "ray", "seldon"}
    assert {name for bar in BARS for name in (bar.peer, bar.front)} <= known
    assert set(BY_NAME) == {bar.peer for bar in BARS}
    assert {bar.front for bar in BARS} == {ENVOY_FRONT, GRPC_FRONT, REST_FRONT}


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_is_pinned_and_what_it_runs_is_there(peer: Peer, tmp_path: Path) -> None:
    command, settings = peer.command(place(tmp_path)), peer.settings(place(tmp_path))

    assert re.fullmatch(r"[a-z-]+(\[serve])?==[0-9.]+", peer.environment.requirements[0])
    (module,) = re.findall(r"load\.bench\.peers\.servers\.\w+", " ".join(command))
    assert importlib.util.find_spec(module) is not None
    assert all(isinstance(word, str) for word in (*command, *settings, *settings.values()))
    assert {str(port) for port in (1, 2, 3)} & set(re.findall(r"\d+", " ".join(command)))


@pytest.mark.parametrize("path", sorted(SERVERS.glob("*.py")), ids=lambda path: path.stem)
def test_a_server_compiles(path: Path) -> None:
    compile(path.read_text(), str(path), "exec")


def test_servers_do_the_same_work_as_turpins_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = tmp_path / "counts"
    counts.write_bytes(bytes(8 * work.ARMS))
    monkeypatch.setenv(work.COUNTS, str(counts))
    rows = np.tile(numbers().astype(np.float32), (3, 1))

    answers = work.Model(1)(rows)

    assert np.array_equal(answers, np.tile(ROW, (3, 1)))
    assert measure.counted(counts) == (0, 3)
    assert work.CLASSES == CLASSES
    bandit = work.Bandit()
    assert {bandit.draw() for _ in range(100)} == set(range(work.ARMS))


def seldon(*values: float) -> bytes:
    shape = [1, len(values)]
    answer: bytes = messages.seldon_message()(data={"tensor": {"shape": shape, "values": values}}).SerializeToString()
    return answer


def arm(value: Any) -> bytes:
    return json.dumps({"data": {"names": ["t:0"], "ndarray": [[value]]}, "meta": {}}).encode()


@pytest.mark.parametrize(
    ("is_right", "right", "wrong"),
    [
        (messages.predictions, json.dumps({"predictions": ROW.tolist()}), json.dumps({"predictions": [ROW.tolist()]})),
        (messages.predictions, json.dumps({"predictions": ROW.tolist()}), json.dumps({"predictions": [[0.5] * 10]})),
        (messages.bare_rows, json.dumps(ROW.tolist()), json.dumps(ROW[:, :9].tolist())),
        (messages.raw_rows, ROW.tobytes(), (ROW + 1).tobytes()),
        (messages.seldon_rest_arm, arm(1), arm(2)),
        (messages.seldon_rest_arm, arm(0), arm(0.5)),
        (messages.seldon_grpc_arm, seldon(1.0), seldon(2.0)),
        (messages.seldon_grpc_arm, seldon(0.0), seldon(0.0, 1.0)),
    ],
)
def test_a_right_answer_is_told_from_a_wrong_one(
    is_right: messages.Check, right: str | bytes, wrong: str | bytes
) -> None:
    def encoded(text: str | bytes) -> bytes:
        return text.encode() if isinstance(text, str) else text

    assert is_right(encoded(right))
    assert not is_right(encoded(wrong))


def test_all_peers_are_sent_the_same_row() -> None:
    row = numbers().astype(np.float32)
    sent = messages.seldon_message().FromString(messages.seldon_grpc("/x").data[5:]).data.tensor

    assert np.array_equal(np.asarray(json.loads(messages.instances("/x").data)["instances"], np.float32), row)
    assert np.array_equal(np.frombuffer(messages.raw("/x").data, np.float32)[np.newaxis], row)
    assert np.array_equal(np.reshape(sent.values, tuple(sent.shape)).astype(np.float32), row)
    assert json.loads(messages.seldon_rest("/x").data)["data"]["ndarray"] == numbers().tolist()


@contextlib.asynccontextmanager
async def answering(status: int, body: bytes) -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        assert json.loads(await request.read())["instances"] == numbers().tolist()
        return web.Response(status=status, body=body)

    app = web.Application()
    app.router.add_post("/predict", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, json.dumps({"predictions": ROW.tolist()}).encode(), None),
        (503, b"overloaded", "answers 503: b'overloaded'"),
        (200, b'{"predictions": [[1.0]]}', "answers something else"),
        (200, b"not JSON", "can't be read"),
        (200, b'{"outputs": []}', "can't be read"),
    ],
)
async def test_status_shape_and_values_over_http_are_checked(status: int, body: bytes, words: str | None) -> None:
    expected = contextlib.nullcontext() if words is None else pytest.raises(Disagreement, match=words)

    async with answering(status, body) as address:
        with expected:
            await measure.ask(BY_NAME["litserve json"], address)


async def test_status_and_arm_over_grpc_are_checked() -> None:
    peer, answers = BY_NAME["seldon grpc, router hop"], [seldon(1.0), seldon(7.0)]

    async def route(body: bytes, context: Any) -> bytes:
        assert messages.seldon_message().FromString(body).data.tensor.shape == [1, 256]
        if not answers:
            await context.abort(grpc.StatusCode.INTERNAL, "no more")
        return answers.pop(0)

    server = grpc.aio.server()
    methods = {"Route": grpc.unary_unary_rpc_method_handler(route)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("seldon.protos.Router", methods),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()

    await measure.ask(peer, address)
    with pytest.raises(Disagreement, match="something else"):
        await measure.ask(peer, address)
    with pytest.raises(Disagreement, match=r"INTERNAL: no more"):
        await measure.ask(peer, address)
    await server.stop(grace=None)


@pytest.mark.parametrize(
    ("answers", "missing", "rows", "words"),
    [
        (10, 0, [4, 6], None),
        (8, 2, [4, 5], None),
        (0, 10, [0, 0], "not one of 10"),
        (10, 0, [4, 5], "saw 9 rows"),
        (10, 0, [5, 6], "saw 11 rows"),
        (10, 0, [10, 0], "2 should have had some"),
    ],
)
def test_each_answer_must_have_been_at_a_model_and_each_model_asked(
    answers: int, missing: int, rows: list[int], words: str | None
) -> None:
    with contextlib.nullcontext() if words is None else pytest.raises(Disagreement, match=words):
        measure.agree(BY_NAME["bentoml json, router"], answers, missing, rows)


async def test_a_peer_that_ends_at_once_says_why(tmp_path: Path) -> None:
    peer, log = BY_NAME["litserve json"], tmp_path / "log"
    (port,) = free_ports(1)

    async with program([sys.executable, "-c", "raise SystemExit('no model')"], {}, log) as child:
        with pytest.raises(Disagreement, match="its last words: no model"):
            await measure._ready(peer, f"127.0.0.1:{port}", child, log)


async def test_what_a_peer_started_ends_with_it_and_runs_on_the_gateways_core(tmp_path: Path) -> None:
    is_up = asyncio.Event()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        is_up.set()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    # A child that does not end when it is asked to.
    stubborn = (
        "import signal, socket; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"one = socket.create_connection(({host!r}, {port})); signal.pause()"
    )
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {stubborn!r}])"

    async with program([sys.executable, "-c", outer], {}, tmp_path / "log") as child, asyncio.timeout(10):
        await is_up.wait()
        born = _born(child.pid)
        cores = [os.sched_getaffinity(pid) for pid in born]
        assert len(_alive(born)) == 2
    server.close()
    await server.wait_closed()

    assert cores == [{0}] * 2
    assert _alive(born) == []


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


async def test_what_cannot_be_installed_says_why_and_what_is_there_is_left(tmp_path: Path) -> None:
    there = Environment("there", ("thing==1.0",), "thing")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "installed").write_text("thing==1.0")
    # As version managers leave them: a name, behind which there is nothing.
    shim = script(tmp_path / "shim", "echo command not found >&2; exit 127")
    full = script(tmp_path / "full", '[ "$1" = -c ] || { echo no space left >&2; exit 1; }')
    broken = Environment("broken", ("thing==1.0",), "thing", pythons=("no-such-python", shim, full))

    assert await installed(there, tmp_path) == tmp_path / "there" / "bin"
    with pytest.raises(NotInstalled, match=r"^no space left$"):
        await installed(broken, tmp_path)


def row(system: str, cpu_us: float) -> Row:
    return Row(system, "sat", cpu_us, rps=1.0, p50_ms=2.0, p99_ms=3.0, errors=0, rss_mb=50.0)


@pytest.mark.parametrize(("front_us", "is_met"), [(30.0, True), (40.0, False)])
def test_ratios_say_how_much_cheaper_or_dearer_turpin_is(front_us: float, is_met: bool) -> None:
    mosec_us = 25.0
    rows = summary([row("seldon json, router hop", 100.0), row(REST_FRONT, front_us), row("mosec json", mosec_us)])
    rows[1]["backend_cpu_us"] = 10.0

    found = ratios(rows)

    assert list(found) == ["seldon json, router hop / turpin rest, sat", "turpin rest / mosec json, sat"]
    first, second = found.values()
    assert first == {
        "measured": round(100 / front_us, 2),
        "with_backend": round(100 / (front_us + 10), 2),
        "bar": 3.0,
        "kind": "at least",
        "is_met": is_met,
    }
    assert second == {
        "measured": round(front_us / mosec_us, 2),
        "with_backend": round((front_us + 10) / mosec_us, 2),
        "bar": 1.5,
        "kind": "at most",
        "is_met": is_met,
    }
    assert table(rows).row_count == 3
