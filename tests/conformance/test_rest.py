"""TF Serving's own cases over REST: bodies, statuses and refusals, as they go over the wire."""

import gzip
import json
from typing import Any, Final

import pytest

from tests.conformance.models import REGRESS
from tests.conformance.stubs import http, rest
from tests.conformance.targets import Target

pytestmark = pytest.mark.timeout(120)

PREDICT: Final = "/v1/models/default:predict"
STATUS: Final = {
    "model_version_status": [
        {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    ]
}


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        (PREDICT, {"instances": [2.0, 3.0, 4.0]}, {"predictions": [3.0, 3.5, 4.0]}),
        (PREDICT, {"inputs": [2.0, 3.0, 4.0]}, {"outputs": [3.0, 3.5, 4.0]}),
        (PREDICT, {"inputs": {"x": [2.0]}}, {"outputs": [3.0]}),
        (PREDICT, {"inputs": 2.0}, {"outputs": 3.0}),
        (PREDICT, {"instances": [{"x": 2.0}]}, {"predictions": [3.0]}),
        (PREDICT, {"instances": [2, 3]}, {"predictions": [3.0, 3.5]}),
        (PREDICT, {"instances": [[1.0, 2.0], [3.0, 4.0]]}, {"predictions": [[2.5, 3.0], [3.5, 4.0]]}),
        (PREDICT, {"signature_name": "serving_default", "instances": [2.0]}, {"predictions": [3.0]}),
        ("/v1/models/default/versions/123:predict", {"instances": [2.0]}, {"predictions": [3.0]}),
        ("/v1/models/default/labels/stable:predict", {"instances": [2.0]}, {"predictions": [3.0]}),
        ("/v1/models/lines/labels/old:predict", {"instances": [[2.0]]}, {"predictions": [[2.0]]}),
        ("/V1/Models/default:PREDICT", {"instances": [2.0]}, {"predictions": [3.0]}),
        ("/v1/models/%64efault:predict", {"instances": [2.0]}, {"predictions": [3.0]}),
        (
            "/v1/models/two_signatures:predict",
            {"signature_name": "two_outputs", "instances": [5.0, 6.0]},
            {"predictions": [{"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 2.0}]},
        ),
        (
            "/v1/models/two_signatures:predict",
            {"signature_name": "two_outputs", "inputs": [5.0, 6.0]},
            {"outputs": {"a": [1.0, 1.0], "b": [2.0, 2.0]}},
        ),
        (
            "/v1/models/two_signatures:predict",
            {"signature_name": "texts", "instances": [1.5]},
            {"predictions": [{"text": "1.500000", "text_bytes": {"b64": "MS41MDAwMDA="}}]},
        ),
        (
            "/v1/models/default:classify",
            {"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}]},
            {"results": [[["", 3.0]]]},
        ),
        (
            "/v1/models/default/versions/123:classify",
            {"signature_name": "classify_with_labels", "examples": [{"x": 2.0}, {"x": [4.0]}]},
            {"results": [[["half", 3.0]], [["half", 4.0]]]},
        ),
        (
            "/v1/models/default:regress",
            {"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}]},
            {"results": [3.0]},
        ),
        (
            "/v1/models/default/labels/stable:regress",
            {"signature_name": "regress_x_to_y", "context": {"x": 2.0}, "examples": [{}, {"x": 6.0}]},
            {"results": [3.0, 5.0]},
        ),
    ],
)
def test_every_form_of_url_and_body_is_answered(target: Target, path: str, body: Any, answer: Any) -> None:
    assert rest(target.rest, path, body) == (200, answer)


def test_answers_are_laid_out_as_tf_servings(target: Target) -> None:
    status, body, headers = http(target.rest, PREDICT, {"instances": [2.0, 3.0]})
    column = http(target.rest, PREDICT, {"inputs": [2.0]})[1]
    refused = http(target.rest, "/v1/models/nope:predict", {"instances": [2.0]})[1]

    assert (status, headers["Content-Type"].partition(";")[0]) == (200, "application/json")
    assert body == b'{\n    "predictions": [3.0, 3.5\n    ]\n}'
    assert column == b'{\n    "outputs": [\n        3.0\n    ]\n}'
    assert refused == b'{\n    "error": "Servable not found for request: Latest(nope)"\n}'


@pytest.mark.parametrize(
    ("sent", "printed"),
    [
        ("3", "3.0"),
        ("0.2", "0.2"),
        ("0.33333333333", "0.333333343"),
        ("9000000", "9e+06"),
        ("1435774380", "1.43577434e+09"),
        ("-1e-7", "-1e-07"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("-Infinity", "-Infinity"),
    ],
)
def test_decimals_are_printed_as_tf_serving_prints_them(target: Target, sent: str, printed: str) -> None:
    path = "/v1/models/lines/versions/1:predict"  # what comes in goes out
    status, body, _ = http(target.rest, path, f'{{"instances": [{sent}]}}'.encode())

    assert (status, body) == (200, f'{{\n    "predictions": [{printed}\n    ]\n}}'.encode())


def test_body_may_be_packed_of_any_type_and_followed_by_garbage(target: Target) -> None:
    body = json.dumps({"instances": [2.0]}).encode()
    packed = http(target.rest, PREDICT, gzip.compress(body), headers={"Content-Encoding": "gzip"})
    form = http(target.rest, PREDICT, body, headers={"Content-Type": "application/x-www-form-urlencoded"})
    trailed = http(target.rest, PREDICT, body + b" garbage")

    assert [json.loads(answer[1]) for answer in (packed, form, trailed)] == [{"predictions": [3.0]}] * 3


@pytest.mark.parametrize("place", ["", "/versions/123", "/labels/stable"])
def test_status_is_told_under_every_form(target: Target, place: str) -> None:
    assert rest(target.rest, f"/v1/models/default{place}") == (200, STATUS)


@pytest.mark.parametrize("place", ["", "/versions/123", "/labels/stable"])
def test_metadata_is_the_signatures_in_protobufs_json(target: Target, place: str) -> None:
    status, metadata = rest(target.rest, f"/v1/models/default{place}/metadata")

    assert status == 200
    assert metadata["model_spec"] == {"name": "default", "signature_name": "", "version": "123"}
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    assert signatures["regress_x_to_y"] == {
        "inputs": {
            "inputs": {
                "dtype": "DT_STRING",
                "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
                "name": "tf_example:0",
            }
        },
        "outputs": {
            "outputs": {
                "dtype": "DT_FLOAT",
                "tensor_shape": {
                    "dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}],
                    "unknown_rank": False,
                },
                "name": "y:0",
            }
        },
        "method_name": REGRESS,
        "defaults": {},
    }


def test_models_are_listed_which_tf_serving_does_not(target: Target) -> None:
    status, answer = rest(target.rest, "/v1/models")

    found = {model["name"]: model["model_version_status"] for model in answer["models"]}
    assert status == 200
    assert found["default"] == STATUS["model_version_status"]
    assert {"lines", "two_signatures", "half_plus_three"} <= found.keys()


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/foo", None, 400, "Malformed request: GET /v1/foo"),
        (PREDICT, None, 400, f"Malformed request: GET {PREDICT}"),
        ("/v1/models/foo/metadata", b"", 400, "Malformed request: POST /v1/models/foo/metadata"),
        (
            "/v1/models/foo/versions/50/labels/x:regress",
            b"",
            400,
            "Malformed request: POST /v1/models/foo/versions/50/labels/x:regress",
        ),
        ("/v1/models/", None, 400, "Malformed request: GET /v1/models/"),
        ("/v1/models/versions/1", None, 400, "Missing model name in request."),
        (
            "/v1/models/default/versions/18446744073709551615:predict",
            b"{}",
            400,
            "Failed to convert version: 18446744073709551615 to numeric.",
        ),
        (
            "/v1/models/default/labels/nope:predict",
            {"instances": [1]},
            400,
            "Unrecognized servable version label: nope",
        ),
        ("/v1/models/nope:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(nope)"),
        (
            "/v1/models/default/versions/99:predict",
            {"instances": [1]},
            404,
            "Servable not found for request: Specific(default, 99)",
        ),
        ("/v1/models/nope", None, 404, "Could not find any versions of model nope"),
        ("/v1/models/default/versions/9", None, 404, "Could not find version 9 of model default"),
        ("/v1/models/nope/metadata", None, 404, "Servable not found for request: Latest(nope)"),
        ("/v1/models/nope:classify", {"examples": [{}]}, 404, "Servable not found for request: Latest(nope)"),
        (PREDICT, b"", 400, "JSON Parse error: The document is empty"),
        (PREDICT, {"instances": ["x", "y"]}, 400, "not of expected type: float"),
        (PREDICT, {"signature_name": 100}, 400, "'signature_name' key must be a string value."),
        (
            PREDICT,
            {"signature_name": "zzz", "inputs": 1},
            400,
            'Serving signature name: "zzz" not found in signature def',
        ),
        (PREDICT, {"instances": [1], "inputs": 1}, 400, "expecting only one of 'inputs' or 'instances' keys"),
        (PREDICT, {}, 400, "Missing 'inputs' or 'instances' key"),
        (PREDICT, {"instances": []}, 400, "No values in 'instances' array"),
        (PREDICT, {"instances": [{"b": 1}]}, 400, "does not have named input: b"),
        (
            "/v1/models/two_signatures:predict",
            {"signature_name": "scalar", "instances": [1.0, 2.0]},
            400,
            "Tensor name: sum has no shape information",
        ),
        (
            "/v1/models/default:classify",
            {"signature_name": "zzz", "examples": [{}]},
            400,
            "No signature was found with the name: zzz",
        ),
        ("/v1/models/default:regress", {"examples": []}, 400, "'examples' value is an empty array"),
        ("/v1/models/default:regress", {}, 400, "key 'examples' is expected and was not found"),
    ],
)
def test_refusal_has_tf_servings_status_and_words(
    target: Target, path: str, body: Any, status: int, words: str
) -> None:
    code, answer = rest(target.rest, path, body)

    assert (code, list(answer)) == (status, ["error"])
    assert words in answer["error"]


def test_paths_outside_the_api_are_404(target: Target) -> None:
    assert http(target.rest, "/v2/models/default")[0] == 404


def test_preflight_wants_an_origin(target: Target) -> None:
    with_origin = http(target.rest, PREDICT, method="OPTIONS", headers={"Origin": "https://page.example"})
    status, answer = rest(target.rest, PREDICT, None, "OPTIONS")

    # Without the option that allows it, a browser is told nothing it could use.
    assert (with_origin[0], "Access-Control-Allow-Origin" in with_origin[2]) == (200, False)
    assert (status, answer) == (400, {"error": "Origin header is missing in CORS preflight"})
