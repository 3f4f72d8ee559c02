"""What the gateway leaves alone: pins, models without an experiment, metadata, status, the model server's own config."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving import wire
from tests.system.client import Client, Refusal, predict_request
from tests.system.gateway import Gateway, configuration, endless, serving, until
from tests.system.model_server import BYSTANDER, MODEL, DigitsServer, server_config, signature

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

# The name clients call; behind it stands the model server's `digits`, which has no experiment under its own name.
PUBLIC: Final = "numbers"


@dataclass(frozen=True, slots=True)
class Bench:
    """A gateway, a client of it, and one of the model server itself."""

    server: DigitsServer
    gateway: Gateway
    client: Client
    direct: Client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    folder = tmp_path_factory.mktemp("pins")
    document = endless() | {"model": PUBLIC}
    document["arms"] = [{**arm, "model": MODEL} for arm in document["arms"]]
    async with DigitsServer() as server:
        settings = configuration(folder, server.address, experiments=[document])
        port = int(server.address.rpartition(":")[2])
        async with serving(folder, settings) as gateway, Client.to(gateway) as client, Client.at(port, 1) as direct:
            await gateway.in_phase("running")
            yield Bench(server, gateway, client, direct)
            await gateway.stop()


async def pinned(gateway: Gateway) -> float:
    """Return how many decisions were pins."""
    return sum(
        value
        for name, value in (await gateway.scrape()).items()
        if "decisions_total" in name and 'mode="pinned"' in name
    )


PINS: Final[list[tuple[dict[str, Any], str, int]]] = [
    *[({"version": {"value": version}}, f"/versions/{version}", version) for version in (1, 2, 3)],
    ({"version_label": "canary"}, "/labels/canary", 3),
]


@pytest.mark.parametrize(("spec", "path", "version"), PINS)
async def test_pin_is_honoured_and_counted_and_not_learned_from(
    bench: Bench, spec: dict[str, Any], path: str, version: int
) -> None:
    before = await pinned(bench.gateway)

    answers = [
        *[await bench.client.predict(model=PUBLIC, **spec) for _ in range(5)],
        *[await bench.client.predict_rest(path=PUBLIC + path) for _ in range(5)],
    ]

    assert {(answer.version, answer.decision, answer.arm) for answer in answers} == {(version, "", "")}
    assert {answer.model for answer in answers[:5]} == {PUBLIC}
    # Workers report to the scrape every 250 ms.
    await until("the count of pins", lambda: _is_pinned(bench.gateway, before + 10))


async def _is_pinned(gateway: Gateway, count: float) -> bool:
    return await pinned(gateway) == count


@pytest.mark.parametrize("spec", [{}, {"version_label": "stable"}], ids=["no version", "entry label"])
async def test_request_for_the_model_itself_is_decided(bench: Bench, spec: dict[str, Any]) -> None:
    answers = [await bench.client.predict(model=PUBLIC, **spec) for _ in range(30)]
    path = PUBLIC + "/labels/stable" * bool(spec)
    answers += [await bench.client.predict_rest(path=path) for _ in range(30)]

    assert all(answer.decision and answer.experiment == MODEL for answer in answers)
    assert {answer.version for answer in answers} == {1, 2, 3}
    assert all(answer.arm == f"v{answer.version}" for answer in answers)


@pytest.mark.parametrize(
    ("pin", "code"), [({"version": {"value": 99}}, "NOT_FOUND"), ({"version_label": "nope"}, "INVALID_ARGUMENT")]
)
async def test_pin_to_nothing_is_refused_as_the_model_server_does(bench: Bench, pin: dict[str, Any], code: str) -> None:
    with pytest.raises(Refusal) as through:
        await bench.client.predict(model=PUBLIC, **pin)
    with pytest.raises(Refusal) as direct:
        await bench.direct.predict(model=MODEL, **pin)

    assert through.value.code == code
    # Under the name that the client knows.
    assert through.value.message == direct.value.message.replace(MODEL, PUBLIC)


def requests() -> dict[str, bytes]:
    """Return requests of every kind for a model without an experiment."""
    plain = predict_request([1.0, 2.0, 3.0, 4.0], BYSTANDER)
    filtered = predict_request([1.0, 2.0, 3.0, 4.0], BYSTANDER)
    filtered.output_filter.append("version")
    content = predict_request([0.0] * 8, BYSTANDER)
    content.inputs["images"].ClearField("float_val")
    content.inputs["images"].tensor_content = bytes(32)
    return {
        "plain": plain.SerializeToString(),
        "two rows": predict_request([1.0] * 8, BYSTANDER).SerializeToString(),
        "version": predict_request([1.0] * 4, BYSTANDER, version={"value": 7}).SerializeToString(),
        "signature": predict_request([1.0] * 4, BYSTANDER, signature_name="serving_default").SerializeToString(),
        "output filter": filtered.SerializeToString(),
        "tensor content": content.SerializeToString(),
        # A field of a later TF Serving: number 99, a varint.
        "unknown field": plain.SerializeToString() + b"\x98\x06\x05",
        "model beside an experiment": predict_request([1.0] * 4, MODEL).SerializeToString(),
    }


@pytest.mark.parametrize("kind", requests())
async def test_model_without_an_experiment_passes_through(bench: Bench, kind: str) -> None:
    body = requests()[kind]

    through, trailers = await bench.client.call(wire.PREDICT, body)
    direct, _ = await bench.direct.call(wire.PREDICT, body)

    assert wire.PredictResponse.FromString(through) == wire.PredictResponse.FromString(direct)
    assert not [name for name in trailers if name.startswith("turpin")]


async def test_metadata_of_the_public_name_is_controls(bench: Bench) -> None:
    request = wire.GetModelMetadataRequest(model_spec={"name": PUBLIC}, metadata_field=["signature_def"])

    body, _ = await bench.client.call(wire.GET_MODEL_METADATA, request.SerializeToString())
    rest, _ = await bench.client.http("GET", f"/v1/models/{PUBLIC}/metadata")

    answer = wire.GetModelMetadataResponse.FromString(body)
    assert (answer.model_spec.name, answer.model_spec.version.value) == (PUBLIC, 1)
    packed = wire.SignatureDefMap.FromString(answer.metadata["signature_def"].value)
    assert packed.signature_def["serving_default"] == signature()
    assert b'"serving_default"' in rest
    assert f'"name": "{PUBLIC}"'.encode() in rest


@pytest.mark.parametrize(
    ("name", "path", "versions"),
    [(PUBLIC, "", {1, 2, 3}), (PUBLIC, "/versions/2", {2}), (BYSTANDER, "", {7, 8})],
)
async def test_status_shows_the_versions_behind_a_name(bench: Bench, name: str, path: str, versions: set[int]) -> None:
    request = wire.GetModelStatusRequest(model_spec={"name": name})
    if path:
        request.model_spec.version.value = int(path.rpartition("/")[2])

    body, _ = await bench.client.call(wire.GET_MODEL_STATUS, request.SerializeToString())
    rest, _ = await bench.client.http("GET", f"/v1/models/{name}{path}")

    found = wire.GetModelStatusResponse.FromString(body).model_version_status
    assert {(one.version, one.state) for one in found if path or one.version in versions} == {
        (version, wire.AVAILABLE) for version in versions
    }
    assert rest.count(b'"AVAILABLE"') >= len(versions)


async def test_model_servers_config_is_not_a_clients_to_change(bench: Bench) -> None:
    reloads = len(bench.server.reloads)
    request = wire.ReloadConfigRequest(config=server_config())

    with pytest.raises(Refusal) as caught:
        await bench.client.call(wire.RELOAD_CONFIG, request.SerializeToString())

    assert caught.value.code == "PERMISSION_DENIED"
    assert "Turpin owns the model configuration behind this address" in caught.value.message
    assert len(bench.server.reloads) == reloads


@pytest.mark.parametrize("service", ["", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"])
async def test_health_is_told_as_grpc_does(bench: Bench, service: str) -> None:
    stub = health_pb2_grpc.HealthStub(bench.client.channel)

    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_health_of_an_unknown_service_is_not_found(bench: Bench) -> None:
    stub = health_pb2_grpc.HealthStub(bench.client.channel)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Check(health_pb2.HealthCheckRequest(service="nope"))

    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
