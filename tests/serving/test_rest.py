"""TF Serving's REST URLs, and the JSON of status, metadata and errors."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import wire
from serving.errors import InternalError, InvalidArgument
from serving.rest import Route, encode_metadata, encode_status, error_body, parse_route


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("POST", "/v1/models/m:predict", Route("predict", "m")),
        ("POST", "/v1/models/m:classify", Route("classify", "m")),
        ("POST", "/v1/models/m:regress", Route("regress", "m")),
        ("POST", "/v1/models/m/versions/7:predict", Route("predict", "m", version=7)),
        ("POST", "/v1/models/m/labels/stable:predict", Route("predict", "m", label="stable")),
        ("POST", "/V1/Models/M/Versions/007:PREDICT", Route("predict", "M", version=7)),
        ("POST", "/v1/models/a%20b%2Fc/labels/%C3%A9:predict", Route("predict", "a b/c", label="\u00e9")),
        ("POST", "/v1/models/m:predict?verbose=1", Route("predict", "m")),
        ("GET", "/v1/models/m", Route("status", "m")),
        ("GET", "/v1/models/m/versions/123", Route("status", "m", version=123)),
        ("GET", "/v1/models/m/labels/L", Route("status", "m", label="L")),
        ("GET", "/v1/models/m/metadata", Route("metadata", "m")),
        ("GET", "/v1/models/m/versions/9223372036854775807/metadata", Route("metadata", "m", version=2**63 - 1)),
        ("GET", "/v1/models/m/labels/L/metadata", Route("metadata", "m", label="L")),
        ("GET", "/v1/models/metadata", Route("status", "metadata")),
        ("GET", "/v1/models/100%", Route("status", "100%")),
    ],
)
def test_urls(method: str, path: str, route: Route) -> None:
    assert parse_route(method, path) == route


def test_urls_are_remembered_but_for_long_ones() -> None:
    short, long = "/v1/models/m/labels/a:predict", f"/v1/models/{'m' * 300}:predict"

    assert parse_route("POST", short) is parse_route("POST", short)
    assert parse_route("POST", long) is not parse_route("POST", long)
    assert parse_route("POST", long) == parse_route("POST", long)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/foo"),
        ("GET", "/v1/models/m:predict"),
        ("GET", "/v1/models/"),
        ("GET", "/v1/models/m/"),
        ("GET", "/v1/models/m/foo"),
        ("POST", "/v1/models/foo/metadata"),
        ("POST", "/v1/models/foo"),
        ("POST", "/v1/models/foo:bar"),
        ("POST", "/v1/models/foo/versions/50/labels/x:regress"),
        ("POST", "/v1/models/foo/versions/:predict"),
        ("POST", "/v1/models/foo/versions/-1:predict"),
        ("POST", "/v1/models/foo/versions/1.0:predict"),
        ("POST", "/v1/models/foo/versions/\u0663:predict"),
        ("PUT", "/v1/models/foo:predict"),
        ("get", "/v1/models/foo"),
    ],
)
def test_other_urls_are_malformed(method: str, path: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_route(method, path)

    assert caught.value.message == f"Malformed request: {method} {path}"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models?x"])
def test_without_a_name_all_models_are_meant(path: str) -> None:
    assert parse_route("GET", path) == Route("models", "")


@pytest.mark.parametrize("path", ["/v1/models/versions/1", "/v1/models/labels/x"])
def test_version_of_no_model_is_refused(path: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^Missing model name in request\.$"):
        parse_route("GET", path)


@pytest.mark.parametrize("version", ["18446744073709551616", "9223372036854775808", "9" * 5000])
def test_a_version_beyond_int64_is_refused(version: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_route("POST", f"/v1/models/m/versions/{version}:predict")

    assert caught.value.message == f"Failed to convert version: {version} to numeric."


@pytest.mark.parametrize("name", ["%ff", "\udcff"])
def test_a_name_that_is_no_utf8_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="Failed to decode model name"):
        parse_route("GET", f"/v1/models/{name}")
    with pytest.raises(InvalidArgument, match="Failed to decode model version label"):
        parse_route("GET", f"/v1/models/m/labels/{name}")


@given(st.sampled_from(["GET", "POST"]), st.text())
def test_any_path_is_a_route_or_a_bad_request(method: str, text: str) -> None:
    messages = []
    for path in (text, f"/v1/models/{text}", f"/v1/models/m/versions/{text}:predict"):
        try:
            parse_route(method, path)
        except InvalidArgument as error:
            messages.append(error.message)

    assert all(json.loads(error_body(message))["error"] for message in messages)


def test_status() -> None:
    response = wire.GetModelStatusResponse()
    response.model_version_status.add(version=123, state=wire.AVAILABLE).status.SetInParent()

    assert encode_status(response) == (
        b'{\n "model_version_status": [\n  {\n   "version": "123",\n   "state": "AVAILABLE",\n'
        b'   "status": {\n    "error_code": "OK",\n    "error_message": ""\n   }\n  }\n ]\n}\n'
    )


def test_metadata() -> None:
    signatures = wire.SignatureDefMap()
    x = signatures.signature_def["serving_default"].inputs["x"]
    x.name, x.dtype = "x:0", 1
    x.tensor_shape.dim.add(size=-1)
    signatures.signature_def["serving_default"].method_name = "tensorflow/serving/predict"
    response = wire.GetModelMetadataResponse()
    response.model_spec.name = "m"
    response.model_spec.version.value = 3
    response.metadata["signature_def"].Pack(signatures)

    text = encode_metadata(response)

    assert json.loads(text) == {
        "model_spec": {"name": "m", "signature_name": "", "version": "3"},
        "metadata": {
            "signature_def": {
                "signature_def": {
                    "serving_default": {
                        "inputs": {
                            "x": {
                                "dtype": "DT_FLOAT",
                                "name": "x:0",
                                "tensor_shape": {"dim": [{"name": "", "size": "-1"}], "unknown_rank": False},
                            }
                        },
                        "outputs": {},
                        "defaults": {},
                        "method_name": "tensorflow/serving/predict",
                    }
                }
            }
        },
    }
    assert text.startswith(b'{\n"model_spec":{\n "name": "m",\n')
    assert b'}\n,\n"metadata": {"signature_def": {\n "signature_def": {\n  "serving_default": {\n' in text


def test_metadata_without_signatures_is_the_backends_fault() -> None:
    response = wire.GetModelMetadataResponse()
    with pytest.raises(InternalError, match="Failed to find 'signature_def'"):
        encode_metadata(response)
    response.metadata["signature_def"].Pack(wire.ModelSpec(name="m"))
    with pytest.raises(InternalError, match="Failed to unpack"):
        encode_metadata(response)


@pytest.mark.parametrize("message", ["Malformed request: GET /v1/foo", 'a "quoted"\nname', "\u00e9", "\udcff"])
def test_errors(message: str) -> None:
    body = error_body(message)

    assert body.startswith(b'{\n    "error": "')
    assert json.loads(body) == {"error": message.encode("utf-8", "replace").decode()}
