"""TF Serving's own cases over gRPC, with the official stubs."""

from typing import Any

import pytest

from tests.conformance.models import CLASSIFY, REGRESS, VERSION
from tests.conformance.stubs import Stubs
from tests.conformance.targets import Target

pytestmark = pytest.mark.timeout(120)


def spec_of(response: Any) -> tuple[str, int, str]:
    spec = response.model_spec
    return spec.name, spec.version.value, spec.signature_name


def scores(result: Any) -> list[list[tuple[str, float]]]:
    return [[(one.label, one.score) for one in each.classes] for each in result.classifications]


@pytest.mark.parametrize("outputs", [("y",), ()])
def test_predict_answers_one_value_in_float_val(stubs: Stubs, outputs: tuple[str, ...]) -> None:
    response = stubs.predict(2.0, outputs=outputs)

    assert list(response.outputs) == ["y"]
    assert (response.outputs["y"].dtype, list(response.outputs["y"].float_val)) == (1, [3.0])
    assert spec_of(response) == ("default", VERSION, "serving_default")


@pytest.mark.parametrize(
    "spec", [{"signature_name": "serving_default"}, {"version": {"value": VERSION}}, {"version_label": "stable"}]
)
def test_answer_names_the_version_found_and_the_default_signature(stubs: Stubs, spec: Any) -> None:
    response = stubs.predict(2.0, **spec)

    assert spec_of(response) == ("default", VERSION, "serving_default")
    assert response.model_spec.version_label == ""


def test_label_that_is_set_and_empty_is_none_at_the_gateway(stubs: Stubs, target: Target) -> None:
    request = stubs.predict_request(version_label="")
    if target.takes_reloads:
        assert stubs.refused("Predict", request) == ("INVALID_ARGUMENT", "Unrecognized servable version label: ")
    else:
        assert spec_of(stubs.call("Predict", request)) == ("default", VERSION, "serving_default")


def test_latest_version_answers_when_none_is_named(stubs: Stubs) -> None:
    assert spec_of(stubs.predict(2.0, name="lines")) == ("lines", 2, "serving_default")
    assert spec_of(stubs.predict(2.0, name="lines", version_label="old")) == ("lines", 1, "serving_default")
    assert list(stubs.predict(2.0, name="lines", version={"value": 1}).outputs["y"].float_val) == [2.0]


def test_half_plus_three_is_another_model(stubs: Stubs) -> None:
    assert list(stubs.predict(2.0, name="half_plus_three").outputs["y"].float_val) == [4.0]


def test_signature_chooses_the_function(stubs: Stubs) -> None:
    custom = stubs.predict(2.0, name="two_signatures", signature_name="custom_signature_key")
    default = stubs.predict(2.0, name="two_signatures")

    assert list(custom.outputs["y"].float_val) == [2.0]
    assert list(default.outputs["y"].float_val) == [1.0]
    assert spec_of(custom) == ("two_signatures", 1, "custom_signature_key")


def test_output_filter_chooses_outputs(stubs: Stubs) -> None:
    def outputs(*names: str) -> list[str]:
        response = stubs.predict(2.0, name="two_signatures", signature_name="two_outputs", outputs=names)
        return sorted(response.outputs)

    assert [outputs(), outputs("b"), outputs("b", "a")] == [["a", "b"], ["b"], ["a", "b"]]


@pytest.mark.parametrize(("signature", "label"), [("classify_x_to_y", ""), ("classify_with_labels", "half")])
def test_classify_answers_labels_and_scores(stubs: Stubs, signature: str, label: str) -> None:
    response = stubs.call("Classify", stubs.classify_request(2.0, 4.0, signature=signature))

    assert scores(response.result) == [[(label, 3.0)], [(label, 4.0)]]
    assert spec_of(response) == ("default", VERSION, signature)


def test_regress_answers_a_value_an_example(stubs: Stubs) -> None:
    response = stubs.call("Regress", stubs.regress_request(2.0, 4.0))

    assert [each.value for each in response.result.regressions] == [3.0, 4.0]
    assert spec_of(response) == ("default", VERSION, "regress_x_to_y")


def test_context_stands_before_each_example(stubs: Stubs) -> None:
    request = stubs.regress_request()
    listed = request.input.example_list_with_context
    listed.context.features.feature["x"].float_list.value.append(2.0)
    listed.examples.add()
    listed.examples.add().features.feature["x"].float_list.value.append(6.0)

    response = stubs.call("Regress", request)

    assert [each.value for each in response.result.regressions] == [3.0, 5.0]


def test_multi_inference_answers_in_the_order_of_its_tasks(stubs: Stubs) -> None:
    request = stubs.multi_request(("regress_x_to_y", REGRESS), ("classify_x_to_y", CLASSIFY))

    regressed, classified = stubs.call("MultiInference", request).results

    assert [each.value for each in regressed.regression_result.regressions] == [3.0]
    assert scores(classified.classification_result) == [[("", 3.0)]]
    assert spec_of(regressed) == ("default", VERSION, "regress_x_to_y")
    assert spec_of(classified) == ("default", VERSION, "classify_x_to_y")


def test_metadata_holds_the_signatures(stubs: Stubs) -> None:
    response = stubs.call("GetModelMetadata", stubs.metadata_request())

    assert list(response.metadata) == ["signature_def"]
    assert response.metadata["signature_def"].type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    assert spec_of(response) == ("default", VERSION, "")
    signatures = stubs.metadata.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert signatures.signature_def["regress_x_to_y"].method_name == REGRESS
    assert signatures.signature_def["serving_default"].inputs["x"].name == "x:0"


@pytest.mark.parametrize("spec", [{}, {"version": {"value": VERSION}}, {"version_label": "stable"}])
def test_status_is_available_and_ok(stubs: Stubs, spec: Any) -> None:
    (status,) = stubs.call("GetModelStatus", stubs.status_request(**spec)).model_version_status

    assert (status.version, status.state, status.HasField("status")) == (VERSION, 30, True)
    assert (status.status.error_code, status.status.error_message) == (0, "")


def test_readiness_probe_of_tf_servings_own_tests_works(stubs: Stubs) -> None:
    code, details = stubs.refused("Predict", stubs.predict_request(name="intentionally_missing_model"))

    assert (code, "Servable" in details) == ("NOT_FOUND", True)


def test_messages_beyond_grpcs_default_size_are_taken(stubs: Stubs, target: Target) -> None:
    values = [float(each) for each in range(1_100_000)]  # 4.4 MB

    response = stubs.predict(*values)

    assert list(response.outputs["y"].float_val)[-1] == values[-1] / 2 + 2


def test_health_is_serving_under_all_names(stubs: Stubs) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    health = health_pb2_grpc.HealthStub(stubs.channel)

    for service in ("", "PredictionService", "ModelService", "tensorflow.serving.PredictionService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=20)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
