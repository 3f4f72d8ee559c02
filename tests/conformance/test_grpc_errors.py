"""Every refusal of TF Serving's gRPC API that a request alone can bring about: its code and its words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import grpc
import pytest

from serving import wire
from tests.conformance.models import CLASSIFY, REGRESS
from tests.conformance.stubs import Stubs, with_examples
from tests.conformance.targets import Target

pytestmark = pytest.mark.timeout(120)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request, made with the stubs, and its end: the code, and all of the words or (`is_part`) a part of them."""

    method: str
    request: Callable[[Stubs], Any]
    code: str
    words: str
    is_part: bool = False


def _predict(code: str, words: str, is_part: bool = False, **spec: Any) -> Refusal:
    return Refusal("Predict", lambda stubs: stubs.predict_request(**spec), code, words, is_part)


def _with(change: Callable[[Stubs, Any], object], words: str, is_part: bool = False) -> Refusal:
    def request(stubs: Stubs) -> Any:
        made = stubs.predict_request()
        change(stubs, made)
        return made

    return Refusal("Predict", request, "INVALID_ARGUMENT", words, is_part)


def _renamed(stubs: Stubs, request: Any) -> None:
    stubs.put(request, "z", 2.0)
    del request.inputs["x"]


def _text(stubs: Stubs, request: Any) -> None:
    request.inputs["x"].dtype = 7
    request.inputs["x"].string_val.append(b"a")


def _cut(stubs: Stubs, request: Any) -> None:
    request.inputs["x"].tensor_content = b"123"


def _multi(code: str, words: str, *tasks: tuple[str, str], is_part: bool = False) -> Refusal:
    return Refusal("MultiInference", lambda stubs: stubs.multi_request(*tasks), code, words, is_part)


def _two_models(stubs: Stubs) -> Any:
    request = stubs.multi_request(("regress_x_to_y", REGRESS), ("classify_x_to_y", CLASSIFY))
    request.tasks[1].model_spec.name = "lines"
    return request


def _second_nameless(stubs: Stubs) -> Any:
    request = _two_models(stubs)
    request.tasks[1].model_spec.name = ""
    return request


REFUSALS: Final[Mapping[str, Refusal]] = {
    "unknown model": _predict("NOT_FOUND", "Servable not found for request: Latest(foo)", name="foo"),
    "unknown version": _predict(
        "NOT_FOUND", "Servable not found for request: Specific(default, 99)", version={"value": 99}
    ),
    "unknown version of an unknown model": _predict(
        "NOT_FOUND", "Servable not found for request: Specific(foo, 99)", name="foo", version={"value": 99}
    ),
    "unknown label": _predict(
        "INVALID_ARGUMENT", "Unrecognized servable version label: nope", version_label="nope"
    ),
    "empty name": _predict("INVALID_ARGUMENT", "ModelSpec has no name specified.", name=""),
    "no ModelSpec": Refusal(
        "Predict", lambda stubs: stubs.predictions.PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"
    ),
    "Predict, unknown signature": _predict(
        "FAILED_PRECONDITION", 'Serving signature key "zzz" not found.', signature_name="zzz"
    ),
    "Classify, unknown signature": Refusal(
        "Classify",
        lambda stubs: stubs.classify_request(2.0, signature="zzz"),
        "INVALID_ARGUMENT",
        "No signature was found with the name: zzz",
    ),
    "Regress, unknown signature": Refusal(
        "Regress",
        lambda stubs: stubs.regress_request(2.0, signature="zzz"),
        "INVALID_ARGUMENT",
        "No signature was found with the name: zzz",
    ),
    "Classify, no signature for it": Refusal(
        "Classify",
        lambda stubs: stubs.classify_request(2.0, signature="serving_default"),
        "FAILED_PRECONDITION",
        "No classification inputs found in SignatureDef: ",
        True,
    ),
    "Regress, no signature for it": Refusal(
        "Regress",
        lambda stubs: stubs.regress_request(2.0, signature="classify_x_to_y"),
        "FAILED_PRECONDITION",
        "No regression outputs found in SignatureDef: ",
        True,
    ),
    "Classify, unknown model": Refusal(
        "Classify",
        lambda stubs: stubs.classify_request(2.0, name="foo"),
        "NOT_FOUND",
        "Servable not found for request: Latest(foo)",
    ),
    "Regress, unknown version": Refusal(
        "Regress",
        lambda stubs: stubs.regress_request(2.0, version={"value": 99}),
        "NOT_FOUND",
        "Servable not found for request: Specific(default, 99)",
    ),
    "one input too many": _with(
        lambda stubs, request: stubs.put(request, "z", 1.0),
        "input size does not match signature: 2!=1 len({x,z}) != len({x}). Sent extra: {z}."
        " Missing but required: {}.",
    ),
    "no input": _with(
        lambda stubs, request: request.inputs.clear(),
        "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}.",
    ),
    "wrong key": _with(
        _renamed, "input tensor alias not found in signature: z. Inputs expected to be in the set {x}."
    ),
    "wrong dtype": _with(_text, "Expects arg[0] to be float but string is provided", is_part=True),
    "tensor that can't be read": _with(_cut, "tensor parsing error: x"),
    "unknown output": _with(
        lambda stubs, request: request.output_filter.append("q"),
        "output tensor alias not found in signature: q Outputs expected to be in the set {y}.",
    ),
    "output named twice": _with(
        lambda stubs, request: request.output_filter.extend(["y", "y"]), "duplicate output tensor alias: y"
    ),
    "Classify, no examples": Refusal(
        "Classify", lambda stubs: stubs.classify_request(), "INVALID_ARGUMENT", "Input is empty."
    ),
    "Regress, no input at all": Refusal(
        "Regress",
        lambda stubs: stubs.regression.RegressionRequest(
            model_spec={"name": "default", "signature_name": "regress_x_to_y"}
        ),
        "INVALID_ARGUMENT",
        "Input is empty.",
    ),
    "Regress, no ModelSpec": Refusal(
        "Regress",
        lambda stubs: with_examples(stubs.regression.RegressionRequest(), 2.0),
        "INVALID_ARGUMENT",
        "Missing ModelSpec",
    ),
    "metadata of no field": Refusal(
        "GetModelMetadata",
        lambda stubs: stubs.metadata.GetModelMetadataRequest(model_spec={"name": "default"}),
        "INVALID_ARGUMENT",
        "GetModelMetadataRequest must specify at least one metadata_field",
    ),
    "metadata of another field": Refusal(
        "GetModelMetadata",
        lambda stubs: stubs.metadata_request("x"),
        "INVALID_ARGUMENT",
        "Metadata field x is not supported",
    ),
    "metadata, no ModelSpec": Refusal(
        "GetModelMetadata",
        lambda stubs: stubs.metadata.GetModelMetadataRequest(metadata_field=["signature_def"]),
        "INVALID_ARGUMENT",
        "Missing ModelSpec",
    ),
    "metadata of an unknown model": Refusal(
        "GetModelMetadata",
        lambda stubs: stubs.metadata_request(name="nope"),
        "NOT_FOUND",
        "Servable not found for request: Latest(nope)",
    ),
    "status of an unknown model": Refusal(
        "GetModelStatus",
        lambda stubs: stubs.status_request(name="nope"),
        "NOT_FOUND",
        "Could not find any versions of model nope",
    ),
    "status of an unknown version": Refusal(
        "GetModelStatus",
        lambda stubs: stubs.status_request(version={"value": 5}),
        "NOT_FOUND",
        "Could not find version 5 of model default",
    ),
    "status, no ModelSpec": Refusal(
        "GetModelStatus",
        lambda stubs: stubs.status.GetModelStatusRequest(),
        "INVALID_ARGUMENT",
        "Missing ModelSpec",
    ),
    "MultiInference, two models": Refusal(
        "MultiInference",
        _two_models,
        "INVALID_ARGUMENT",
        "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
    ),
    "MultiInference, second without a name": Refusal(
        "MultiInference", _second_nameless, "INVALID_ARGUMENT", "Found ModelSpec with an empty model name."
    ),
    "MultiInference, no task": Refusal(
        "MultiInference",
        lambda stubs: stubs.multi_request(),
        "INVALID_ARGUMENT",
        "ModelSpec has no name specified.",
    ),
    "MultiInference, one signature twice": _multi(
        "INVALID_ARGUMENT",
        "Duplicate evaluation of signature: regress_x_to_y",
        ("regress_x_to_y", REGRESS),
        ("regress_x_to_y", REGRESS),
    ),
    "MultiInference, unknown method": _multi(
        "UNIMPLEMENTED", "Unsupported signature method_name: m", ("regress_x_to_y", "m")
    ),
    "MultiInference, unknown signature": _multi(
        "INVALID_ARGUMENT", "Requested signature not found in model graph: zzz", ("zzz", REGRESS)
    ),
    "MultiInference, two inputs": _multi(
        "INVALID_ARGUMENT",
        "Input tensor must be the same for all Signatures.",
        ("regress_x_to_y", REGRESS),
        ("regress_x2_to_y3", REGRESS),
    ),
    "long message": _predict(
        "FAILED_PRECONDITION", ('Serving signature key "' + "z" * 3000)[:1024] + "...TRUNCATED",
        signature_name="z" * 3000,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal_has_tf_servings_code_and_words(stubs: Stubs, name: str) -> None:
    refusal = REFUSALS[name]

    code, details = stubs.refused(refusal.method, refusal.request(stubs))

    assert code == refusal.code
    assert refusal.words in details if refusal.is_part else details == refusal.words


def test_deadline_is_kept(stubs: Stubs, target: Target) -> None:
    # So much work that no machine does it in the time.
    request = stubs.predict_request([1.0] * 4_000_000)
    with pytest.raises(grpc.RpcError) as raised:
        stubs.channel.unary_unary(wire.PREDICT)(request.SerializeToString(), timeout=0.001)

    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("method", ["/tensorflow.serving.SessionService/SessionRun", "/nope.Nope/Nope"])
def test_what_tf_serving_does_not_serve_is_unimplemented(stubs: Stubs, method: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stubs.channel.unary_unary(method)(b"", timeout=20)

    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
