"""GrpcUpstream against a real grpc.aio server on a free port."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from serving import wire
from serving.errors import BackendError, Code, DeadlineExceeded, Unavailable
from serving.upstream import GrpcUpstream, Servable

Answer = Callable[[bytes, Any], Awaitable[bytes]]


class AnyMethod(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc publishes no types
    """Hands every unary call's raw bytes to one function."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def service(self, details: Any) -> Any:
        assert details.method == wire.PREDICT
        return grpc.unary_unary_rpc_method_handler(self.answer)


@asynccontextmanager
async def serving(answer: Answer, port: int = 0) -> AsyncIterator[int]:
    """A server whose every method answers so, and its port."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((AnyMethod(answer),))
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@asynccontextmanager
async def connected(answer: Answer) -> AsyncIterator[GrpcUpstream]:
    async with serving(answer) as port:
        upstream = GrpcUpstream(f"127.0.0.1:{port}")
        try:
            yield upstream
        finally:
            await upstream.close()


async def echo(body: bytes, context: Any) -> bytes:
    return body


def failing(code: grpc.StatusCode, message: str) -> Answer:
    async def answer(body: bytes, context: Any) -> bytes:
        await context.abort(code, message)
        raise AssertionError("abort does not return")

    return answer


def test_a_servable_says_what_it_is() -> None:
    assert str(Servable("tfs-a", "digits", 2)) == "tfs-a/digits/2"
    assert str(Servable("tfs-a", "digits", None)) == "tfs-a/digits/latest"
    assert str(Servable("tfs-a", "digits", None, "stable")) == "tfs-a/digits/stable"


async def test_bytes_go_out_and_come_back_beyond_grpcs_four_mebibytes() -> None:
    body = bytes(9 << 20)
    async with connected(echo) as upstream:
        assert await upstream.call(wire.PREDICT, body, 10.0) == body


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.CANCELLED]
)
async def test_what_the_backend_answered_keeps_its_code_and_words(code: grpc.StatusCode) -> None:
    async with connected(failing(code, "Größe 65 > 64")) as upstream:
        with pytest.raises(BackendError, match=r"^Größe 65 > 64$") as caught:
            await upstream.call(wire.PREDICT, b"", 10.0)
    assert caught.value.code.name == code.name


async def test_unavailable_is_one_thing_whoever_says_it() -> None:
    async with connected(failing(grpc.StatusCode.UNAVAILABLE, "going down")) as upstream:
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:\d+ is unavailable: going down"):
            await upstream.call(wire.PREDICT, b"", 10.0)


@pytest.mark.parametrize("words", ["CANCELLED", "Received RST_STREAM with error code 8"])
async def test_a_call_that_a_server_cuts_off_as_it_goes_down_is_unavailable(words: str) -> None:
    async with connected(failing(grpc.StatusCode.CANCELLED, words)) as upstream:
        with pytest.raises(Unavailable, match=words):
            await upstream.call(wire.PREDICT, b"", 10.0)


async def test_a_replica_nobody_listens_at_is_unavailable() -> None:
    async with serving(echo) as port:
        pass
    upstream = GrpcUpstream(f"127.0.0.1:{port}")
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port} is unavailable: "):
        await upstream.call(wire.PREDICT, b"", 10.0)
    await upstream.close()


async def test_a_restarted_replica_is_reached_again_within_two_seconds() -> None:
    async with serving(echo) as port:
        upstream = GrpcUpstream(f"127.0.0.1:{port}")
        await upstream.call(wire.PREDICT, b"", 10.0)
    with pytest.raises(Unavailable):
        await upstream.call(wire.PREDICT, b"", 10.0)

    async def call_until_answered() -> bytes:
        while True:
            try:
                return await upstream.call(wire.PREDICT, b"again", 10.0)
            except Unavailable:
                continue

    async with serving(echo, port), asyncio.timeout(2.0):
        assert await call_until_answered() == b"again"
    await upstream.close()


async def test_time_runs_out_at_the_timeout() -> None:
    async def never(body: bytes, context: Any) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with connected(never) as upstream:
        with pytest.raises(DeadlineExceeded, match=r"did not answer within 0\.050 s"):
            await upstream.call(wire.PREDICT, b"", 0.05)


async def test_who_stops_waiting_does_not_cancel_the_call() -> None:
    arrived, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
    ends: list[bool] = []

    async def answer(body: bytes, context: Any) -> bytes:
        arrived.set()
        try:
            await go_on.wait()
            ends.append(context.cancelled())
        finally:
            ended.set()
        return b""

    async with asyncio.timeout(10.0), connected(answer) as upstream:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(upstream.call(wire.PREDICT, b"", 10.0))
            await arrived.wait()
            task.cancel()
        gc.collect()
        go_on.set()
        await ended.wait()
        # The connection is as good as before.
        await upstream.call(wire.PREDICT, b"", 10.0)
    assert task.cancelled()
    assert ends == [False, False]


async def test_a_call_cancelled_before_it_began_is_not_lost_track_of() -> None:
    async with asyncio.timeout(10.0), connected(echo) as upstream:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(upstream.call(wire.PREDICT, b"", 10.0))
            group.create_task(asyncio.sleep(0)).add_done_callback(lambda _: task.cancel())
        assert task.cancelled()
        assert await upstream.call(wire.PREDICT, b"next", 10.0) == b"next"
        assert len(upstream._under_way) <= 1


async def test_closing_ends_what_is_under_way_as_unavailable() -> None:
    arrived = asyncio.Event()

    async def never(body: bytes, context: Any) -> bytes:
        arrived.set()
        await asyncio.Event().wait()
        return b""

    async with asyncio.timeout(10.0), serving(never) as port:
        upstream = GrpcUpstream(f"127.0.0.1:{port}")

        async def call() -> None:
            with pytest.raises(Unavailable, match="was closed while"):
                await upstream.call(wire.PREDICT, b"", 10.0)

        async with asyncio.TaskGroup() as group:
            group.create_task(call())
            await arrived.wait()
            await upstream.close()
    assert upstream._under_way == set()


async def test_a_proxy_meant_for_the_internet_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("grpc_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    async with connected(echo) as upstream:
        assert await upstream.call(wire.PREDICT, b"x", 10.0) == b"x"


def test_every_grpc_code_has_ours() -> None:
    assert {code.name: code.value[0] for code in grpc.StatusCode} == {code.name: code.number for code in Code}
