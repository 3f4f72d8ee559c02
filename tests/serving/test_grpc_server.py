"""A server that ends takes its leave: clients that watch health lose no call to a rolling restart."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from serving.grpc_server import GrpcServer

METHOD = "/test.Service/Echo"
NAMES = b"a", b"b"
RESTARTS = 12
CHANNELS = 4
# At once on each connection, so that some always come in the very moment of the end.
BURST = 8


async def started(port: int = 0, name: bytes = b"") -> tuple[GrpcServer, int]:
    async def answer(body: bytes, context: Any) -> bytes:
        await asyncio.sleep(0.001)
        return name

    server = GrpcServer({METHOD: answer}, message_bytes=-1, is_port_shared=False)
    found = await server.start(f"127.0.0.1:{port}")
    await server.set_serving(is_serving=True)
    return server, found


@asynccontextmanager
async def callers(*ports: int) -> AsyncIterator[list[Any]]:
    """Connections to all servers in turn, each of which asks the servers whether they serve."""
    config = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
    options = [
        ("grpc.service_config", json.dumps(config)),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", 100),
    ]
    target = f"ipv4:{','.join(f'127.0.0.1:{port}' for port in ports)}"
    channels = [grpc.aio.insecure_channel(target, options=options) for _ in range(CHANNELS)]
    try:
        for channel in channels:
            await asyncio.wait_for(channel.channel_ready(), 10.0)
        yield [channel.unary_unary(METHOD) for channel in channels]
    finally:
        for channel in channels:
            await channel.close()


async def test_clients_that_watch_health_lose_no_call_to_restarts() -> None:
    """Without the moment between NOT_SERVING and the end gRPC cancels about one call a restart."""
    servers = [await started(name=name) for name in NAMES]
    seen: Counter[str] = Counter()
    # Which connection was answered by which server since the last restart.
    met: set[tuple[int, bytes]] = set()
    is_over = asyncio.Event()

    async def caller(number: int, call: Any) -> None:
        while not is_over.is_set():
            try:
                met.add((number, await call(b"x", timeout=10.0)))
                seen["OK"] += 1
            except grpc.aio.AioRpcError as error:
                seen[f"{error.code().name}: {error.details()}"] += 1

    async with callers(*(port for _, port in servers)) as calls, asyncio.TaskGroup() as tasks:
        for number, call in list(enumerate(calls)) * BURST:
            tasks.create_task(caller(number, call))
        for number in range(RESTARTS):
            async with asyncio.timeout(60.0):
                while len(met) < CHANNELS * len(servers):  # noqa: ASYNC110 it is the load that goes on meanwhile
                    await asyncio.sleep(0.01)
            server, port = servers[number % 2]
            await server.stop(5.0)
            servers[number % 2] = await started(port, NAMES[number % 2])
            met.clear()
        is_over.set()
    for server, _ in servers:
        await server.stop(1.0)

    assert set(seen) == {"OK"}, seen
    assert seen["OK"] > RESTARTS * CHANNELS * len(servers)


async def _answer(call: Any) -> bytes:
    return bytes(await call(b"x", timeout=10.0))


async def test_clients_connect_anew_when_their_connection_has_its_age_and_lose_no_call() -> None:
    peers = set()

    async def peer(body: bytes, context: Any) -> bytes:
        peers.add(context.peer())
        return body

    server = GrpcServer({METHOD: peer}, message_bytes=-1, is_port_shared=False, connection_age_s=0.1)
    port = await server.start("127.0.0.1:0")
    async with asyncio.timeout(15.0), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(METHOD)
        while len(peers) < 4:
            async with asyncio.TaskGroup() as tasks:
                answers = [tasks.create_task(_answer(call)) for _ in range(BURST)]
            assert [one.result() for one in answers] == [b"x"] * BURST
    await server.stop(1.0)


async def test_server_that_nobody_calls_ends_at_once() -> None:
    """The quickest of a few tells: a machine that has other things to do makes each of them longer."""
    loop = asyncio.get_running_loop()
    first_s, again_s = 9.0, 9.0
    for _ in range(10):
        server, _ = await started()
        times = [loop.time()]
        for _ in range(2):
            await server.stop(10.0)
            times.append(loop.time())
        first_s, again_s = min(first_s, times[1] - times[0]), min(again_s, times[2] - times[1])

    # Half of what it waits for clients that go on.
    assert first_s < 0.5
    assert again_s < 0.1
