"""Calls as pyvoy brings them, with its traps, in simulated time: each is answered, or has nobody to be answered."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2

from router.fronts.envoy.admin import Admin
from router.fronts.envoy.health import CHECK, WATCH
from router.fronts.envoy.messages import framed
from router.fronts.envoy.server import EnvoyServer
from serving.errors import QueueFull
from tests.simulated_loop import run_simulated

METHOD = "/test.Service/Method"
HEADERS = ((b"content-type", b"application/grpc+proto"), (b"te", b"trailers"))
MESSAGE_BYTES = 100
SERVING, NOT_SERVING = (health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING)


class Client:
    """One call from Envoy's side: what it sends, whether it is still there, and what it is sent."""

    def __init__(self, *pieces: bytes, path: str = METHOD, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """`pieces` are the body; it ends with the last one, or never when that is empty."""
        self.scope = {"type": "http", "path": path, "headers": [*HEADERS, *headers], "client": ("127.0.0.1", 5)}
        self._pieces = list(pieces)
        self._waiting: asyncio.Future[Mapping[str, Any]] | None = None
        self.is_gone = False
        self.asked = 0
        self.events: list[Mapping[str, Any]] = []

    def receive(self) -> "asyncio.Future[Mapping[str, Any]]":
        told: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        if self.is_gone:
            told.set_result({"type": "http.disconnect"})
        elif not self._pieces:
            # It never waits once all has come.
            self.asked += 1
            told.set_result({"type": "http.request", "body": b"", "more_body": False})
        elif self._pieces[0]:
            piece = self._pieces.pop(0)
            told.set_result({"type": "http.request", "body": piece, "more_body": bool(self._pieces)})
        else:
            self._waiting = told
        return told

    async def send(self, event: Mapping[str, Any]) -> None:
        if self.is_gone:
            raise OSError("the client has left")
        self.events.append(event)
        # Envoy takes leave of a client that it has answered, whether its request was whole or not.
        if self._waiting is not None and event["type"] == "http.response.body" and not event.get("more_body"):
            self._waiting.set_result({"type": "http.disconnect"})

    @property
    def headers(self) -> dict[bytes, bytes]:
        """What came before the body."""
        return dict(self.events[0]["headers"])

    @property
    def trailers(self) -> dict[bytes, bytes]:
        """What came after it."""
        return dict(self.events[-1]["headers"])

    def status(self) -> bytes:
        """The status of a call that got no answer."""
        assert [event["type"] for event in self.events] == ["http.response.start", "http.response.body"]
        return self.headers[b"grpc-status"]


async def echo(body: bytes, context: Any) -> bytes:
    context.set_trailing_metadata((("turpin-arm", "v1"),))
    return body


async def nothing() -> None:
    return None


def server_of(handler: Any = echo) -> EnvoyServer:
    return EnvoyServer({METHOD: handler}, message_bytes=MESSAGE_BYTES, admin=Admin(Path("/nowhere")), open_port=nothing)


async def played(client: Client, handler: Any = echo, after: Callable[[], None] | None = None, at_s: float = 0) -> None:
    """Play one call to its end; `after` is called in between."""
    server = server_of(handler)
    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(server.look())
        if after is not None:
            asyncio.get_running_loop().call_later(at_s, after)
        await server(client.scope, client.receive, client.send)
        looking.cancel()


def test_answer_comes_with_status_and_trailers() -> None:
    client = Client(framed(b"hello")[:3], framed(b"hello")[3:])
    run_simulated(played(client))

    assert [event["type"].rpartition(".")[2] for event in client.events] == ["start", "body", "trailers"]
    assert client.events[1]["body"] == framed(b"hello")
    assert client.trailers == {b"grpc-status": b"0", b"turpin-arm": b"v1"}


@pytest.mark.parametrize(
    ("client", "status"),
    [
        (Client(framed(b""), path="/test.Service/Other"), b"12"),
        (Client(framed(b""), headers=[(b"te", b"gzip")]), b"3"),
        (Client(framed(b""), headers=[(b"content-type", b"text/plain")]), b"3"),
        (Client(framed(b""), headers=[(b"grpc-timeout", b"soon")]), b"3"),
        (Client(framed(bytes(MESSAGE_BYTES + 1))[:5], b""), b"8"),
        (Client(b"\1" + framed(b"x")[1:], headers=[(b"grpc-encoding", b"snappy")]), b"12"),
        (Client(b"\0"), b"13"),
    ],
    ids=["unknown method", "no te: trailers", "no gRPC", "deadline", "too large", "unknown encoding", "no message"],
)
def test_what_can_not_be_served_is_refused(client: Client, status: bytes) -> None:
    run_simulated(played(client))

    assert client.status() == status


def test_error_of_a_handler_is_a_status() -> None:
    async def shed(body: bytes, context: Any) -> bytes:
        raise QueueFull("100 % full")

    client = Client(framed(b"x"))
    run_simulated(played(client, shed))

    assert (client.status(), client.headers[b"grpc-message"]) == (b"8", b"100 %25 full")


def test_fault_of_a_handler_shows_nothing_of_itself() -> None:
    async def fail(body: bytes, context: Any) -> bytes:
        raise ValueError("secret")

    client = Client(framed(b"x"))
    run_simulated(played(client, fail))

    assert client.status() == b"13"
    assert b"secret" not in client.headers[b"grpc-message"]


def test_client_that_leaves_cancels_its_call() -> None:
    ended: list[float] = []

    async def wait(body: bytes, context: Any) -> bytes:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await loop.create_future()
        finally:
            ended.append(loop.time() - began)
        return b""

    client = Client(framed(b"x"))
    run_simulated(played(client, wait, lambda: setattr(client, "is_gone", True), at_s=10.0))

    # Asked the rarer the older it is, but not later than another quarter of its age.
    assert 10.0 <= ended[0] <= 12.6
    assert client.asked < 40
    assert client.events == []


@pytest.mark.parametrize(("headers", "after_s"), [([], 15.0), ([(b"grpc-timeout", b"2S")], 2.0)])
def test_request_that_never_comes_whole_is_refused(headers: list[tuple[bytes, bytes]], after_s: float) -> None:
    async def timed(client: Client) -> float:
        await played(client)
        return asyncio.get_running_loop().time()

    client = Client(framed(b"x")[:4], b"", headers=headers)
    took_s = run_simulated(timed(client))

    assert client.status() == b"4"
    assert after_s <= took_s <= after_s + 0.2 * after_s


def test_client_that_leaves_before_its_request_is_whole_is_not_answered() -> None:
    client = Client()
    client.is_gone = True
    run_simulated(played(client))

    assert client.events == []


def test_deadline_and_metadata_are_what_the_client_said() -> None:
    seen: list[Any] = []

    async def look(body: bytes, context: Any) -> bytes:
        seen.extend([context.time_remaining(), context.invocation_metadata(), context.peer()])
        return b""

    client = Client(framed(b""), headers=[(b"grpc-timeout", b"7S"), (b"turpin-unit", b"\xff"), (b"other", b"x")])
    run_simulated(played(client, look))

    assert seen == [7.0, [("turpin-unit", "ÿ")], "127.0.0.1:5"]


def test_health_is_told_now_and_on_every_change() -> None:
    asked = framed(health_pb2.HealthCheckRequest(service="PredictionService").SerializeToString())
    watching, checking, strange = (
        Client(asked, path=WATCH),
        Client(asked, path=CHECK),
        Client(framed(b"\n\1x"), path=CHECK),
    )

    async def play() -> None:
        server = server_of()
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(server(watching.scope, watching.receive, watching.send))
            await asyncio.sleep(1.0)
            await server.set_serving(True)
            await server(checking.scope, checking.receive, checking.send)
            await server(strange.scope, strange.receive, strange.send)
            await asyncio.sleep(1.0)
            watch.cancel()

    run_simulated(play())

    told = [health_pb2.HealthCheckResponse.FromString(event["body"][5:]).status for event in watching.events[1:]]
    assert told == [NOT_SERVING, SERVING]
    assert health_pb2.HealthCheckResponse.FromString(checking.events[1]["body"][5:]).status == SERVING
    assert strange.status() == b"5"
