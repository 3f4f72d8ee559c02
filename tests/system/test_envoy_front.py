"""`front: envoy`, real: what only a client and an Envoy can show. All else runs over both fronts elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest

from serving import wire
from tests.system.client import Client, predict_request
from tests.system.fronts import NO_ENVOY
from tests.system.gateway import Gateway, configuration, serving, until
from tests.system.model_server import BYSTANDER, PIXELS, DigitsServer

pytestmark = [pytest.mark.timeout(90), NO_ENVOY]

CALLS = 300
# So slow that all are cancelled before a third batch leaves, one at a time and none large.
LINES = {8: (1.0, 0.0)}
SMALL = {"max_in_flight": 1, "max_batch_rows": 16}
MESSAGE_BYTES = 1_000_000


@asynccontextmanager
async def behind_envoy(folder: Path, server: DigitsServer) -> AsyncIterator[tuple[Gateway, Client]]:
    limits = {"message_bytes": MESSAGE_BYTES}
    document = configuration(folder, server.address, experiments=[], front="envoy", limits=limits)
    document["backends"]["tfs-a"].update(SMALL)
    async with serving(folder, document) as gateway, Client.to(gateway) as client:
        yield gateway, client
        await gateway.stop()


async def test_clients_that_leave_take_their_requests_back(tmp_path: Path) -> None:
    async with DigitsServer(LINES) as server, behind_envoy(tmp_path, server) as (_, client):
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(client.predict(model=BYSTANDER)) for _ in range(CALLS)]
            await until("a call upstream", lambda: server.predicted)
            for call in calls:
                call.cancel()
        answer = await client.predict(model=BYSTANDER)
        rows = sum(rows for _, rows in server.predicted)

    assert answer.version == 8
    assert rows < CALLS / 2


async def test_refusals_are_grpcs(tmp_path: Path) -> None:
    request = predict_request([0.5] * PIXELS, BYSTANDER).SerializeToString()
    async with (
        DigitsServer() as server,
        behind_envoy(tmp_path, server) as (gateway, _),
        grpc.aio.insecure_channel(f"127.0.0.1:{gateway.grpc}") as channel,
    ):
        predict = channel.unary_unary(wire.PREDICT)
        answer = await predict(request, timeout=10.0, compression=grpc.Compression.Gzip)
        refused = {}
        for name, path, body in (
            ("too large", wire.PREDICT, bytes(MESSAGE_BYTES + 1)),
            ("unknown method", "/tensorflow.serving.PredictionService/Nope", b""),
            ("a path with escapes", "/%ff/%ff", b""),
            ("words that are not ASCII", wire.PREDICT, _named("Größe")),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(path)(body, timeout=10.0)
            refused[name] = (caught.value.code().name, caught.value.details())

    assert wire.PredictResponse.FromString(answer).model_spec.name == BYSTANDER
    assert refused == {
        "too large": (
            "RESOURCE_EXHAUSTED",
            f"Received message larger than max ({MESSAGE_BYTES + 1} vs. {MESSAGE_BYTES})",
        ),
        "unknown method": ("UNIMPLEMENTED", "Method not found!"),
        "a path with escapes": ("PERMISSION_DENIED", "RBAC: access denied"),
        "words that are not ASCII": ("NOT_FOUND", "Servable not found for request: Latest(Größe)"),
    }


def _named(model: str) -> bytes:
    return bytes(predict_request([0.5] * PIXELS, model).SerializeToString())
