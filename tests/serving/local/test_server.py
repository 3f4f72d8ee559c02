"""The server through TF Serving's own stubs: gRPC as its clients see it, and REST."""

import gzip
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving import wire
from serving.local.versions import Engine
from tests.serving.local.running_server import Running, running
from tests.serving.local.saved_models import SavedModels
from tests.serving.local.stand_in import Loader, as_message, put, specific

pytestmark = pytest.mark.timeout(120)

# A call to loopback that takes longer than this hangs.
TIMEOUT_S = 20


def floats(*values: float) -> Any:
    return np.array(values, np.float32)


class Stubs:
    """The official messages and stubs, on one channel."""

    def __init__(self, address: str) -> None:
        from tensorflow_serving.apis import (  # noqa: TID251 - what a client uses
            get_model_metadata_pb2,
            get_model_status_pb2,
            model_management_pb2,
            model_service_pb2_grpc,
            predict_pb2,
            prediction_service_pb2_grpc,
        )

        self.channel = grpc.insecure_channel(address)
        self.metadata_pb2, self.status_pb2 = get_model_metadata_pb2, get_model_status_pb2
        self.management_pb2, self.predict_pb2 = model_management_pb2, predict_pb2
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def request(self, name: str, x: Any, version: int | None = None, signature: str = "", key: str = "x") -> Any:
        import tensorflow as tf

        request = self.predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = name, signature
        if version is not None:
            request.model_spec.version.value = version
        request.inputs[key].CopyFrom(tf.make_tensor_proto(x))
        return request

    def predict(self, name: str, x: Any, version: int | None = None, signature: str = "", key: str = "x") -> Any:
        return self.prediction.Predict(self.request(name, x, version, signature, key), timeout=TIMEOUT_S)

    def states(self, name: str) -> dict[int, str]:
        request = self.status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        response = self.model.GetModelStatus(request, timeout=TIMEOUT_S)
        state = self.status_pb2.ModelVersionStatus.State
        return {each.version: state.Name(each.state) for each in response.model_version_status}

    def reload(self, config: wire.Message, timeout_s: float = TIMEOUT_S) -> Any:
        request = self.management_pb2.ReloadConfigRequest()
        request.config.ParseFromString(config.SerializeToString())
        return self.model.HandleReloadConfigRequest(request, timeout=timeout_s)

    def await_state(self, name: str, version: int, state: str) -> None:
        """Ask until the version is in the state; the test's timeout is the limit."""
        while self.states(name).get(version) != state:
            pass


@pytest.fixture(scope="module")
def server(load: Callable[[str], Engine], saved_models: SavedModels) -> Iterator[Running]:
    config = as_message(specific("default", saved_models.half, 123), specific("odd", saved_models.odd, 1))
    with running(load, config) as server:
        yield server


@pytest.fixture(scope="module")
def stubs(server: Running) -> Iterator[Stubs]:
    stubs = Stubs(server.grpc)
    yield stubs
    stubs.channel.close()


def begun(stubs: Stubs, loader: Loader) -> Any:
    """Send a Predict that stays in the model `m` of stand-ins until its gate is opened."""
    loader.loaded[0].gate.clear()
    call = stubs.prediction.Predict.future(stubs.request("m", floats(1)), timeout=TIMEOUT_S)
    assert loader.loaded[0].entered.wait(TIMEOUT_S)
    return call


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    """Return the status code's name and the details of a call that must fail."""
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value.code().name, raised.value.details()


def rest(server: Running, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Return status and JSON of a REST call: POST when there is a body."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    request = urllib.request.Request(server.rest + path, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            text = error.read()
            return error.code, json.loads(text) if text else None


def test_predict_answers_the_official_stub(stubs: Stubs) -> None:
    response = stubs.predict("default", floats(2).reshape(1, 1))

    assert list(response.outputs) == ["y"]
    assert list(response.outputs["y"].float_val) == [3.0]
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("default", 123, "serving_default")


def test_message_larger_than_grpcs_default_is_taken(stubs: Stubs) -> None:
    rows = np.zeros((2_000_000, 1), np.float32)
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(stubs.channel._channel.target().decode(), options=options) as channel:
        call = channel.unary_unary(wire.PREDICT)
        request = wire.PredictRequest()
        request.model_spec.name = "default"
        tensor = request.inputs["x"]
        tensor.dtype, tensor.tensor_content = 1, rows.tobytes()
        for size in rows.shape:
            tensor.tensor_shape.dim.add(size=size)

        response = wire.PredictResponse.FromString(call(request.SerializeToString(), timeout=TIMEOUT_S))

    assert len(response.outputs["y"].float_val) == len(rows)


def test_metadata_holds_the_signatures(stubs: Stubs) -> None:
    request = stubs.metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "default"

    response = stubs.prediction.GetModelMetadata(request, timeout=TIMEOUT_S)

    assert (response.model_spec.name, response.model_spec.version.value) == ("default", 123)
    assert list(response.metadata) == ["signature_def"]
    signatures = stubs.metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    signature = signatures.signature_def["serving_default"]
    assert signature.method_name == "tensorflow/serving/predict"
    assert [dim.size for dim in signature.inputs["x"].tensor_shape.dim] == [-1, 1]


def test_status_says_ok_in_so_many_words(stubs: Stubs) -> None:
    request = stubs.status_pb2.GetModelStatusRequest()
    request.model_spec.name = "default"

    (status,) = stubs.model.GetModelStatus(request, timeout=TIMEOUT_S).model_version_status

    assert (status.version, status.state, status.HasField("status")) == (123, 30, True)
    assert (status.status.error_code, status.status.error_message) == (0, "")


def test_wrong_calls_get_tf_servings_codes_and_words(stubs: Stubs) -> None:
    metadata, status = stubs.metadata_pb2.GetModelMetadataRequest, stubs.status_pb2.GetModelStatusRequest
    spec = stubs.predict_pb2.PredictRequest().model_spec
    spec.name = "default"

    def get_metadata(request: Any) -> Callable[[], Any]:
        return lambda: stubs.prediction.GetModelMetadata(request, timeout=TIMEOUT_S)

    def get_status(request: Any) -> Callable[[], Any]:
        return lambda: stubs.model.GetModelStatus(request, timeout=TIMEOUT_S)

    x = floats(1)
    assert [
        refused(lambda: stubs.predict("nope", x)),
        refused(lambda: stubs.predict("default", x, version=99)),
        refused(lambda: stubs.predict("default", x, signature="zzz")),
        refused(lambda: stubs.predict("default", [b"a"])),
        refused(lambda: stubs.predict("default", x, key="z")),
        refused(get_metadata(metadata(metadata_field=["signature_def"]))),
        refused(get_metadata(metadata(model_spec=spec))),
        refused(get_metadata(metadata(model_spec=spec, metadata_field=["x"]))),
        refused(get_status(status())),
        refused(lambda: stubs.states("nope")),
    ] == [
        ("NOT_FOUND", "Servable not found for request: Latest(nope)"),
        ("NOT_FOUND", "Servable not found for request: Specific(default, 99)"),
        ("FAILED_PRECONDITION", 'Serving signature key "zzz" not found.'),
        ("INVALID_ARGUMENT", "Expects arg[0] to be float but string is provided"),
        (
            "INVALID_ARGUMENT",
            "input tensor alias not found in signature: z. Inputs expected to be in the set {x}.",
        ),
        ("INVALID_ARGUMENT", "Missing ModelSpec"),
        ("INVALID_ARGUMENT", "GetModelMetadataRequest must specify at least one metadata_field"),
        ("INVALID_ARGUMENT", "Metadata field x is not supported"),
        ("INVALID_ARGUMENT", "Missing ModelSpec"),
        ("NOT_FOUND", "Could not find any versions of model nope"),
    ]


def test_garbage_unknown_methods_and_long_messages_are_answered_properly(stubs: Stubs) -> None:
    # Its proto is public, but TF Serving itself does not serve it.
    session_run = "/tensorflow.serving.SessionService/SessionRun"
    predict, unknown = (stubs.channel.unary_unary(path) for path in (wire.PREDICT, session_run))
    long = "z" * 3000

    assert refused(lambda: predict(b"\xff", timeout=TIMEOUT_S))[0] == "INVALID_ARGUMENT"
    assert refused(lambda: unknown(b"", timeout=TIMEOUT_S))[0] == "UNIMPLEMENTED"
    code, details = refused(lambda: stubs.predict("default", floats(1), signature=long))
    assert (code, details) == ("FAILED_PRECONDITION", (f'Serving signature key "{long}')[:1024] + "...TRUNCATED")


def test_deadline_ends_a_call_and_later_ones_are_answered(stubs: Stubs) -> None:
    request = stubs.predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "odd", "wait"
    request.inputs["seconds"].dtype = 1
    request.inputs["seconds"].float_val.append(0.5)

    assert refused(lambda: stubs.prediction.Predict(request, timeout=0.1))[0] == "DEADLINE_EXCEEDED"
    assert stubs.predict("default", floats(2)).outputs["y"].float_val[0] == 3.0


def test_health_is_serving(stubs: Stubs) -> None:
    health = health_pb2_grpc.HealthStub(stubs.channel)

    for service in ("", "PredictionService", "tensorflow.serving.ModelService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_rest_predicts_in_rows_and_columns(server: Running) -> None:
    path = "/v1/models/default:predict"
    packed = gzip.compress(json.dumps({"instances": [2.0]}).encode())

    assert rest(server, path, {"instances": [2.0, 3.0, 4.0]}) == (200, {"predictions": [3.0, 3.5, 4.0]})
    assert rest(server, path, {"inputs": [[2.0], [3.0]]}) == (200, {"outputs": [[3.0], [3.5]]})
    assert rest(server, "/v1/models/default/versions/123:predict", {"inputs": 2.0}) == (200, {"outputs": 3.0})
    assert rest(server, path, packed, **{"Content-Encoding": "gzip"}) == (200, {"predictions": [3.0]})
    assert rest(
        server, "/v1/models/odd:predict", {"instances": [{"a": 3.0, "b": 1.0}]}
    ) == (200, {"predictions": [{"sum": 4.0, "difference": 2.0}]})  # fmt: skip


def test_rest_tells_status_and_metadata(server: Running) -> None:
    ok = {"error_code": "OK", "error_message": ""}
    status = {"model_version_status": [{"version": "123", "state": "AVAILABLE", "status": ok}]}

    assert rest(server, "/v1/models/default") == (200, status)
    assert rest(server, "/v1/models/default/versions/123") == (200, status)
    code, metadata = rest(server, "/v1/models/default/metadata")
    assert code == 200
    assert metadata["model_spec"] == {"name": "default", "signature_name": "", "version": "123"}
    assert "serving_default" in metadata["metadata"]["signature_def"]["signature_def"]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/foo", None, 400, "Malformed request: GET /v1/foo"),
        ("/v1/models/versions/1", None, 400, "Missing model name in request."),
        ("/v1/models/nope:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(nope)"),
        ("/v1/models/default/versions/9", None, 404, "Could not find version 9 of model default"),
        ("/v1/models/default/labels/x:predict", {"instances": [1]}, 400, "Unrecognized servable version label: x"),
        ("/v1/models/default:predict", b"", 400, "The document is empty"),
        ("/v1/models/default:predict", {"instances": ["a"]}, 400, "is not of expected type: float"),
        ("/v1/models/default:predict", {"signature_name": "z", "inputs": 1}, 400, '"z" not found in signature def'),
        ("/v1/models/odd:predict", {"inputs": {"a": [1, 2], "b": [1, 2, 3]}}, 400, "Incompatible shapes"),
        ("/v1/models/default:classify", {"examples": [{}]}, 400, "No classification inputs found in SignatureDef"),
    ],
)
def test_rest_refuses_with_tf_servings_words(server: Running, path: str, body: Any, status: int, words: str) -> None:
    code, answer = rest(server, path, body)

    assert code == status
    assert list(answer) == ["error"]
    assert words in answer["error"]


def test_rest_refuses_broken_gzip_and_other_paths(server: Running) -> None:
    whole = gzip.compress(b'{"instances": [1]}')

    for body in (b"no gzip", whole[:-9]):
        code, answer = rest(server, "/v1/models/default:predict", body, **{"Content-Encoding": "gzip"})
        assert (code, "uncompress" in answer["error"]) == (400, True)
    assert rest(server, "/x") == (404, None)


def test_reload_without_a_version_takes_it_away_after_the_answer(
    load: Callable[[str], Engine], saved_models: SavedModels
) -> None:
    bystander = specific("bystander", saved_models.half, 123)
    before = as_message(specific("digits", saved_models.digits, 1, 2, 3), bystander)
    after = as_message(specific("digits", saved_models.digits, 1, 2), bystander)
    # A server that polls once an hour and one that polls at once: the answer comes before the change.
    with running(load, before, poll_wait_s=3600) as server:
        slow = Stubs(server.grpc)
        assert slow.reload(after).status.error_code == 0
        assert slow.states("digits") == {3: "AVAILABLE", 2: "AVAILABLE", 1: "AVAILABLE"}
        slow.channel.close()
    with running(load, before) as server:
        stubs = Stubs(server.grpc)
        assert list(stubs.predict("digits", floats(2)).outputs["y"].float_val) == [6.0]

        assert stubs.reload(after).status.error_code == 0
        stubs.await_state("digits", 3, "END")

        assert stubs.states("digits") == {3: "END", 2: "AVAILABLE", 1: "AVAILABLE"}
        assert stubs.states("bystander") == {123: "AVAILABLE"}
        assert list(stubs.predict("digits", floats(2)).outputs["y"].float_val) == [4.0]
        assert refused(lambda: stubs.predict("digits", floats(2), version=3)) == (
            "NOT_FOUND",
            "Servable not found for request: Specific(digits, 3)",
        )
        stubs.channel.close()


def test_call_under_way_is_answered_by_the_version_that_goes(tmp_path: Path) -> None:
    loader = Loader()
    with running(loader, as_message(specific("m", put(tmp_path / "m", 1), 1))) as server:
        stubs = Stubs(server.grpc)
        call = begun(stubs, loader)

        stubs.reload(as_message())

        assert stubs.states("m") == {1: "UNLOADING"}
        assert refused(lambda: stubs.predict("m", floats(1))) == (
            "NOT_FOUND",
            "Servable not found for request: Latest(m)",
        )
        loader.loaded[0].gate.set()
        assert call.result(TIMEOUT_S).model_spec.version.value == 1
        stubs.await_state("m", 1, "END")
        stubs.channel.close()


def test_stop_answers_what_is_under_way_and_is_not_held_up_by_a_watch(tmp_path: Path) -> None:
    loader = Loader()
    with running(loader, as_message(specific("m", put(tmp_path / "m", 1), 1))) as server:
        stubs = Stubs(server.grpc)
        watch = health_pb2_grpc.HealthStub(stubs.channel).Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        call = begun(stubs, loader)

        server.stop()

        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        loader.loaded[0].gate.set()
        assert call.result(TIMEOUT_S).model_spec.version.value == 1
        assert server.ended.wait(10)  # a third of the grace that calls get
        assert loader.closed() == ["m/1"]
        watch.cancel()
        stubs.channel.close()


@pytest.fixture
def stand_ins(tmp_path: Path) -> Iterator[tuple[Stubs, Path]]:
    """Serve model `m`, version 1, without TensorFlow behind it."""
    with running(Loader(), as_message(specific("m", put(tmp_path / "m", 1, 2), 1))) as server:
        stubs = Stubs(server.grpc)
        yield stubs, tmp_path
        stubs.channel.close()


def test_reload_with_a_new_model_returns_once_it_serves(stand_ins: tuple[Stubs, Path]) -> None:
    stubs, base = stand_ins
    old, new = specific("m", base / "m", 1), specific("n", put(base / "n", 7), 7)

    stubs.reload(as_message(old, new))

    assert stubs.states("n") == {7: "AVAILABLE"}
    assert stubs.states("m") == {1: "AVAILABLE"}


def test_reload_with_a_new_model_that_fails_says_why(stand_ins: tuple[Stubs, Path]) -> None:
    stubs, base = stand_ins
    old = specific("m", base / "m", 1)
    (put(base / "n", 7) / "7" / "broken").write_text("no graph")

    assert refused(lambda: stubs.reload(as_message(old, specific("n", base / "n", 7)))) == (
        "UNKNOWN",
        "1 servable(s) did not become available: {{name: n version: 7 due to error: no graph}, }",
    )
    # One that is not there may still come; the client hears of it shortly before its own deadline.
    code, details = refused(lambda: stubs.reload(as_message(old, specific("o", base / "o", 1)), timeout_s=1))
    assert (code, "can't be listed" in details) == ("UNKNOWN", True)
    assert stubs.states("m") == {1: "AVAILABLE"}
    assert refused(lambda: stubs.states("o"))[0] == "NOT_FOUND"


def test_refused_reload_changes_nothing(stand_ins: tuple[Stubs, Path]) -> None:
    stubs, base = stand_ins
    labelled = as_message(specific("m", base / "m", 1, 2, labels={"canary": 2}))
    relative = as_message(specific("m", Path("m"), 2))
    both = as_message(specific("m", base / "m", 2), specific("m", base / "m", 1))

    assert [refused(lambda config=config: stubs.reload(config)) for config in (labelled, relative, both)] == [  # type: ignore[misc]
        (
            "FAILED_PRECONDITION",
            "Request to assign label to version 2 of model m, which is not currently available for inference",
        ),
        ("INVALID_ARGUMENT", "Expected model m to have an absolute path or URI; got base_path()=m"),
        ("INVALID_ARGUMENT", "Illegal to list model m multiple times in config list"),
    ]
    assert refused(lambda: stubs.reload(wire.ModelServerConfig()))[0] == "INVALID_ARGUMENT"
    # The next good reload comes after more than one poll, and finds what was there before.
    stubs.reload(as_message(specific("m", base / "m", 1), specific("n", put(base / "n", 7), 7)))
    assert stubs.states("m") == {1: "AVAILABLE"}
