"""Clients that people have: the official stubs over asyncio, ovmsclient, Node's grpc-js, curl."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import grpc.aio
import pytest

from tests.conformance.models import VERSION
from tests.conformance.stubs import Stubs
from tests.conformance.targets import TIMEOUT_S, Target
from tests.serving.local.running_server import Running

pytestmark = pytest.mark.timeout(300)

README: Final = Path(__file__).parents[2] / "README.md"
DESCRIPTORS: Final = Path(__file__).parents[2] / "serving" / "tfs.desc"

# ovmsclient wants a newer protobuf than TensorFlow bears: it gets an environment of its own.
OVMS_CLIENT: Final = """
import json, sys
import numpy
from ovmsclient import ModelNotFoundError, make_grpc_client, make_http_client

answers = {}
for kind, client in (("grpc", make_grpc_client(sys.argv[1])), ("http", make_http_client(sys.argv[2]))):
    try:
        client.predict({"x": numpy.float32([1])}, "nope")
        refused = None
    except ModelNotFoundError as error:
        refused = str(error)
    status = client.get_model_status("default")
    answers[kind] = {
        "predicted": client.predict({"x": numpy.float32([2, 4])}, "default").tolist(),
        "by_version": client.predict({"x": numpy.float32([2])}, "lines", 1).tolist(),
        "status": {str(version): one["state"] for version, one in status.items()},
        # Over HTTP it reads metadata under a key that only OpenVINO's server writes.
        "inputs": sorted(client.get_model_metadata("default")["inputs"]) if kind == "grpc" else ["x"],
        "refused": refused,
    }
print(json.dumps(answers))
"""

NODE_CLIENT: Final = """
const fs = require("fs"), grpc = require("@grpc/grpc-js"), loader = require("@grpc/proto-loader");
const [descriptors, address] = process.argv.slice(2);
const proto = grpc.loadPackageDefinition(loader.loadFileDescriptorSetFromBuffer(fs.readFileSync(descriptors),
  {keepCase: true, longs: Number, enums: String, defaults: true}));
const credentials = grpc.credentials.createInsecure(), options = {"grpc.enable_http_proxy": 0};
const client = new proto.tensorflow.serving.PredictionService(address, credentials, options);
const x = {dtype: "DT_FLOAT", tensor_shape: {dim: [{size: 2}]}, float_val: [2, 4]};
const spec = name => ({model_spec: {name}, inputs: [{key: "x", value: x}]});
client.Predict(spec("nope"), refused =>
  client.Predict(spec("default"), (error, answer) => {
    if (error) throw error;
    console.log(JSON.stringify({values: answer.outputs[0].value.float_val, version: answer.model_spec.version.value,
      code: refused.code, details: refused.details}));
    client.close();
  }));
"""


def downloads(what: str) -> None:
    """Skip unless the network may be used for a client."""
    if not os.environ.get("TEST_DOWNLOADS"):
        pytest.skip(f"{what} is to be downloaded: set TEST_DOWNLOADS=1, as `make conformance` does")


def output(*command: str | Path, folder: Path | None = None, stdin: str | None = None) -> str:
    """Run a command and return what it printed; AssertionError with its complaints when it fails."""
    done = subprocess.run(command, cwd=folder, input=stdin, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def ovms_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    downloads("ovmsclient")
    folder = tmp_path_factory.mktemp("ovmsclient")
    output(sys.executable, "-m", "venv", folder)
    output(folder / "bin/pip", "install", "--quiet", "ovmsclient==2023.1")
    return folder / "bin" / "python"


@pytest.fixture(scope="session")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("there is no Node here")
    downloads("@grpc/grpc-js")
    folder = tmp_path_factory.mktemp("node")
    output("npm", "install", "--silent", "@grpc/grpc-js@1", "@grpc/proto-loader", folder=folder)
    (folder / "client.js").write_text(NODE_CLIENT)
    return folder


async def test_official_stubs_over_asyncio_are_answered(target: Target, stubs: Stubs) -> None:
    from tensorflow_serving.apis import prediction_service_pb2_grpc  # noqa: TID251 - what a client uses

    async with grpc.aio.insecure_channel(target.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:
        service = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        predicted = await service.Predict(stubs.predict_request(), timeout=TIMEOUT_S)
        regressed = await service.Regress(stubs.regress_request(2.0), timeout=TIMEOUT_S)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.Predict(stubs.predict_request(name="nope"), timeout=TIMEOUT_S)

    assert (list(predicted.outputs["y"].float_val), predicted.model_spec.version.value) == ([3.0], VERSION)
    assert [each.value for each in regressed.result.regressions] == [3.0]
    assert refused.value.details() == "Servable not found for request: Latest(nope)"


async def test_of_many_at_once_everyone_gets_his_own(target: Target, stubs: Stubs) -> None:
    from tensorflow_serving.apis import prediction_service_pb2_grpc  # noqa: TID251 - what a client uses

    values = [[float(first + row) for row in range(first % 5 + 1)] for first in range(0, 2000, 10)]
    async with grpc.aio.insecure_channel(target.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:
        service = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        async with asyncio.TaskGroup() as tasks:

            async def regress(sent: list[float]) -> list[float]:
                answer = await service.Regress(stubs.regress_request(*sent), timeout=TIMEOUT_S)
                return [each.value for each in answer.result.regressions]

            async def classify(sent: list[float]) -> list[float]:
                answer = await service.Classify(stubs.classify_request(*sent), timeout=TIMEOUT_S)
                return [each.classes[0].score for each in answer.result.classifications]

            asked = [(sent, tasks.create_task(call(sent))) for sent in values for call in (regress, classify)]

    assert [task.result() for _, task in asked] == [[value / 2 + 2 for value in sent] for sent, _ in asked]


@pytest.mark.parametrize("sign", ["-", "+"])
def test_one_line_of_a_client_changes_as_the_readme_shows(
    sign: str, target: Target, model_server: Running, stubs: Stubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run README's lines before (`-`, to the model server) and after (`+`): all else of the client stays."""
    import grpc
    import requests
    from tensorflow_serving.apis import prediction_service_pb2_grpc  # noqa: TID251 - what a client uses

    monkeypatch.setenv("NO_PROXY", "*")
    blocks = re.findall(r"```diff\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    grpc_line, rest_line = (line[1:] for block in blocks for line in block.splitlines() if line.startswith(sign))
    place = target if sign == "+" else model_server
    host = "turpin.internal" if sign == "+" else "tf-serving.internal"
    assert (grpc_line.count(f"{host}:8500"), rest_line.count(f"http://{host}:8501")) == (1, 1)

    names: dict[str, Any] = {"grpc": grpc, "requests": requests, "body": {"instances": [2.0]}}
    exec(grpc_line.replace(f"{host}:8500", place.grpc), names)
    with names["channel"]:
        predicted = prediction_service_pb2_grpc.PredictionServiceStub(names["channel"]).Predict(
            stubs.predict_request(), timeout=TIMEOUT_S
        )
    rest_line = rest_line.replace(f"http://{host}:8501", place.rest).replace("/digits:", "/default:")
    answered = eval(rest_line, names)

    assert (list(predicted.outputs["y"].float_val), answered.json()) == ([3.0], {"predictions": [3.0]})


def test_ovmsclient_is_answered_over_grpc_and_http(target: Target, ovms_python: Path) -> None:
    answers = json.loads(output(ovms_python, "-", target.grpc, target.rest.removeprefix("http://"), stdin=OVMS_CLIENT))

    for kind, answer in answers.items():
        assert answer["predicted"] == [3.0, 4.0], kind
        assert answer["by_version"] == [2.0], kind
        assert answer["status"] == {str(VERSION): "AVAILABLE"}, kind
        assert answer["inputs"] == ["x"], kind
        assert "Servable not found for request" in answer["refused"], kind


def test_nodes_grpc_js_is_answered(target: Target, node_folder: Path) -> None:
    answer = json.loads(output("node", "client.js", DESCRIPTORS, target.grpc, folder=node_folder))

    assert answer == {
        "values": [3, 4],
        "version": VERSION,
        "code": 5,
        "details": "Servable not found for request: Latest(nope)",
    }


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
@pytest.mark.parametrize(
    ("path", "arguments", "answer"),
    [
        ("/v1/models/default:predict", ["-d", '{"instances": [2.0, 3.0, 4.0]}'], {"predictions": [3.0, 3.5, 4.0]}),
        # A body of more than 1 KiB: curl asks with `Expect: 100-continue` first.
        ("/v1/models/default:predict", ["-d", json.dumps({"instances": [2.0] * 2000})], {"predictions": [3.0] * 2000}),
        ("/v1/models/nope:predict", ["-d", "{}"], {"error": "Servable not found for request: Latest(nope)"}),
        ("/v1/models/default:predict", [], {"error": "Malformed request: GET /v1/models/default:predict"}),
    ],
)
def test_curl_is_answered(target: Target, path: str, arguments: list[str], answer: Any) -> None:
    assert json.loads(output("curl", "--silent", "--noproxy", "*", target.rest + path, *arguments)) == answer
