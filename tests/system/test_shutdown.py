"""How the gateway ends, and how it refuses to start: nothing accepted is dropped, and every refusal says why."""

import asyncio
import os
import signal
import socket
import textwrap
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from router.store import open_store
from tests.system.client import Client
from tests.system.fronts import FRONTS
from tests.system.gateway import Gateway, configuration, end, endless, is_alive, launched, serving, until
from tests.system.model_server import BYSTANDER, DigitsServer
from tests.system.traffic import Nature, Traffic, counted

pytestmark = pytest.mark.timeout(60)

CLIENTS = 6
# A model that takes its time: long enough to be under way at SIGTERM, far shorter than the grace of 10 s.
LINES = dict.fromkeys((1, 2, 3), (0.001, 0.0002)) | {8: (1.5, 0.0)}
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def health(gateway: Gateway) -> list[int]:
    """Watch grpc.health.v1 until the server ends the call; return what it said."""
    said: list[int] = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.grpc}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        while (answer := await watch.read()) is not grpc.aio.EOF:
            said.append(answer.status)
            if answer.status == NOT_SERVING:
                break
    return said


async def decisions_on_disk(folder: Path, epoch: str) -> int:
    store = open_store(f"sqlite:///{folder}/turpin.db")
    await store.open()
    sums = await store.sums(int(epoch, 16))
    await store.close()
    return sum(cell["decisions"] + cell["unlearned_decisions"] for cell in sums.values())


@pytest.mark.parametrize("front", FRONTS)
async def test_sigterm_under_load_fails_no_call_that_was_accepted(tmp_path: Path, front: str) -> None:
    document = endless()
    document["objective"]["reward"] = {"window": "60s"}
    async with DigitsServer(LINES) as server:
        settings = configuration(tmp_path, server.address, workers=2, experiments=[document], front=front)
        async with serving(tmp_path, settings) as gateway, Client.to(gateway) as client:
            epoch = (await gateway.in_phase("running"))["epoch"]
            traffic = Traffic(client, Nature(dict.fromkeys((1, 2, 3), 0.5), seed=4))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(traffic.run(CLIENTS))
                watching = tasks.create_task(health(gateway))
                await until("some traffic", lambda: len(traffic.acknowledged) > 50)
                slow = [
                    tasks.create_task(client.predict(model=BYSTANDER)),
                    tasks.create_task(client.predict_rest(path=BYSTANDER)),
                ]
                await until("slow calls upstream", lambda: sum(rows for v, rows in server.predicted if v == 8) == 2)
                traffic.is_away = True
                workers = gateway.workers()
                await gateway.stop()
                on_disk, answered = await decisions_on_disk(tmp_path, epoch), sum(traffic.answers.values())
                await gateway.start_again()
                await asyncio.wait_for(client.channel.channel_ready(), 10.0)
                traffic.is_away = False
                traffic.stop.set()
            await counted(gateway, traffic)
            await gateway.stop()

    assert [task.result().version for task in slow] == [8, 8]
    assert watching.result() == [SERVING, NOT_SERVING]
    # What was decided was answered, and every decision was written down.
    assert on_disk == answered
    assert len(traffic.failed) <= CLIENTS, traffic.failed
    assert traffic.refused == []
    assert not any(map(is_alive, workers))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_while_it_starts_ends_it_well(tmp_path: Path, number: signal.Signals) -> None:
    async with DigitsServer() as server:
        gateway = launched(tmp_path, configuration(tmp_path, server.address, experiments=[endless()]))
        try:
            await until("its leader", lambda: gateway.events("leading"))
            workers = await until("a worker", gateway.workers)
            gateway.process.send_signal(number)
            code = await gateway.ended()
        finally:
            end(gateway)
        await until("the end of the workers", lambda: not any(map(is_alive, workers)))

    assert code == 0, gateway.log_file.read_text()
    assert "Traceback" not in gateway.log_file.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_while_it_loads_is_not_waited_for(tmp_path: Path, number: signal.Signals) -> None:
    # A machine so slow that the control plane never comes.
    stuck = """
        import importlib.abc, importlib.util, sys, threading
        class Stuck(importlib.abc.MetaPathFinder, importlib.abc.Loader):
            def find_spec(self, name, path=None, target=None):
                return importlib.util.spec_from_loader(name, self) if name == "router.control_plane" else None
            def exec_module(self, module):
                threading.Event().wait()
        sys.meta_path.insert(0, Stuck())
    """
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(stuck))
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    document = configuration(tmp_path, "127.0.0.1:1", experiments=[])
    gateway = launched(tmp_path, document, environ={"PYTHONPATH": path})
    try:
        workers = await until("a worker", gateway.workers)
        gateway.process.send_signal(number)
        code = await gateway.ended()
    finally:
        end(gateway)

    assert (code, [pid for pid in workers if is_alive(pid)]) == (0, []), gateway.log_file.read_text()
    assert "Traceback" not in gateway.log_file.read_text()


def _other(folder: Path, target: str, listen: dict[str, int], **settings: Any) -> dict[str, Any]:
    """Return the configuration of a second gateway, of which some ports are given."""
    document = configuration(folder, target, experiments=[], **settings)
    document["listen"].update({name: f"127.0.0.1:{port}" for name, port in listen.items()})
    return document


@pytest.mark.parametrize("front", FRONTS)
async def test_second_gateway_on_a_port_in_use_is_refused(tmp_path: Path, front: str) -> None:
    # Workers share their ports through SO_REUSEPORT: without care a second gateway would take half the connections.
    async with (
        DigitsServer() as server,
        serving(tmp_path, configuration(tmp_path, server.address, experiments=[], front=front)) as first,
        Client.to(first) as client,
    ):
        ports = {"grpc": first.grpc, "http": first.http, "admin": first.admin}
        started: dict[str, Gateway] = {}
        for name, arguments in (("grpc", ()), ("grpc", ("--single",)), ("http", ()), ("admin", ("--single",))):
            folder = tmp_path / f"{name}{''.join(arguments)}"
            folder.mkdir()
            document = _other(folder, server.address, {name: ports[name]}, front="grpc" if arguments else front)
            started[folder.name] = launched(folder, document, *arguments)
        try:
            codes = {name: await gateway.ended() for name, gateway in started.items()}
        finally:
            for gateway in started.values():
                end(gateway)
        for _ in range(20):
            await client.predict(model=BYSTANDER)
        await first.stop()

    assert codes == dict.fromkeys(started, 1)
    for name, gateway in started.items():
        port = ports[name.partition("-")[0]]
        last = gateway.log_file.read_text().splitlines()[-1]
        assert last.startswith(f"turpin: can't listen on 127.0.0.1:{port}"), last
        assert "in use" in last, last
        assert "Traceback" not in gateway.log_file.read_text()


async def refused(folder: Path, document: dict[str, Any], *arguments: str) -> tuple[int, str]:
    """Start a gateway that can't; return its exit code and all it said."""
    gateway = launched(folder, document, *arguments)
    try:
        return await gateway.ended(), gateway.log_file.read_text()
    finally:
        end(gateway)


async def test_port_of_another_program_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        code, said = await refused(tmp_path, _other(tmp_path, "127.0.0.1:1", {"http": port}))

    assert code == 1
    assert said.splitlines()[-1].startswith(f"turpin: can't listen on 127.0.0.1:{port}")
    assert "Traceback" not in said


@pytest.mark.parametrize("keys", [(), ("k1:a decision key of 32 characters",)], ids=["key file", "key given"])
@pytest.mark.parametrize("store", ["a file is in the way", "a folder is in the way", "not a database"])
async def test_store_that_cannot_be_is_refused(tmp_path: Path, store: str, keys: tuple[str, ...]) -> None:
    place = tmp_path / "place"
    path = place
    match store:
        case "a file is in the way":
            place.write_bytes(b"")
            path = place / "turpin.db"
        case "a folder is in the way":
            place.mkdir()
        case _:
            place.write_bytes(b"this is no database " * 1000)
    document = _other(tmp_path, "127.0.0.1:1", {}, store=f"sqlite:///{path}", decision_keys=list(keys))

    code, said = await refused(tmp_path, document)

    last = said.splitlines()[-1]
    assert code == 1
    assert last.startswith("turpin: "), said
    assert str(path) in last, last
    assert not last.startswith("turpin: [Errno"), last
    assert "Traceback" not in said


async def test_wrong_configuration_is_refused_with_all_that_is_wrong(tmp_path: Path) -> None:
    document = configuration(tmp_path, "no port", workers=0, decision_keys=["short"], nonsense=1)
    document["experiments"] = [{**endless(), "control": "v9"}, {**endless(), "name": "b", "stop": {"alpha": 2}}]

    code, said = await refused(tmp_path, document)

    assert code == 2
    for place in (
        "backends.tfs-a.target",
        "workers",
        "decision_keys",
        "nonsense",
        "experiments[0].control",
        "experiments[1].stop.alpha",
    ):
        assert place in said, f"nothing about {place} in:\n{said}"
    assert "Traceback" not in said
