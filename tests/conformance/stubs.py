"""TF Serving's own messages and stubs, and HTTP from the standard library: what clients have."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
import pytest

from serving import wire
from tests.conformance.targets import TIMEOUT_S

_OPTIONS = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1)]


class Stubs:
    """The official messages and stubs, on one channel."""

    def __init__(self, address: str) -> None:
        from tensorflow_serving.apis import (  # noqa: TID251 - what a client uses
            classification_pb2,
            get_model_metadata_pb2,
            get_model_status_pb2,
            inference_pb2,
            model_management_pb2,
            model_service_pb2_grpc,
            predict_pb2,
            prediction_service_pb2_grpc,
            regression_pb2,
        )

        self.channel = grpc.insecure_channel(address, options=_OPTIONS)
        self.classification, self.regression, self.inference = classification_pb2, regression_pb2, inference_pb2
        self.metadata, self.status = get_model_metadata_pb2, get_model_status_pb2
        self.management, self.predictions = model_management_pb2, predict_pb2
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self._model = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def call(self, method: str, request: Any) -> Any:
        """Make a call of either service."""
        service = self.prediction if hasattr(self.prediction, method) else self._model
        return getattr(service, method)(request, timeout=TIMEOUT_S)

    def predict_request(self, values: Any = (2.0,), *, outputs: Sequence[str] = (), **spec: Any) -> Any:
        """Return a PredictRequest for `x`, a float vector, of the model `default` unless `spec` says otherwise."""
        request = self.predictions.PredictRequest(model_spec={"name": "default", **spec}, output_filter=outputs)
        self.put(request, "x", *values)
        return request

    def put(self, request: Any, alias: str, *values: float) -> Any:
        """Put a float vector into an input, and return the request."""
        tensor = request.inputs[alias]
        tensor.dtype = 1
        tensor.tensor_shape.dim.add(size=len(values))
        tensor.float_val.extend(values)
        return request

    def predict(self, *values: float, **spec: Any) -> Any:
        return self.call("Predict", self.predict_request(values or (2.0,), **spec))

    def classify_request(self, *values: float, signature: str = "classify_x_to_y", **spec: Any) -> Any:
        request = self.classification.ClassificationRequest(
            model_spec={"name": "default", "signature_name": signature, **spec}
        )
        return with_examples(request, *values)

    def regress_request(self, *values: float, signature: str = "regress_x_to_y", **spec: Any) -> Any:
        request = self.regression.RegressionRequest(model_spec={"name": "default", "signature_name": signature, **spec})
        return with_examples(request, *values)

    def multi_request(self, *tasks: tuple[str, str], values: Sequence[float] = (2.0,), name: str = "default") -> Any:
        """Return a MultiInferenceRequest; a task is (signature, method)."""
        request = self.inference.MultiInferenceRequest()
        for signature, method in tasks:
            task = request.tasks.add(method_name=method)
            task.model_spec.name, task.model_spec.signature_name = name, signature
        return with_examples(request, *values)

    def metadata_request(self, *fields: str, **spec: Any) -> Any:
        return self.metadata.GetModelMetadataRequest(
            model_spec={"name": "default", **spec}, metadata_field=fields or ("signature_def",)
        )

    def status_request(self, **spec: Any) -> Any:
        return self.status.GetModelStatusRequest(model_spec={"name": "default", **spec})

    def states(self, name: str = "default") -> dict[int, str]:
        """Return the states of a model's versions."""
        state = self.status.ModelVersionStatus.State
        statuses = self.call("GetModelStatus", self.status_request(name=name)).model_version_status
        return {each.version: state.Name(each.state) for each in statuses}

    def reload_request(self, config: wire.Message) -> Any:
        request = self.management.ReloadConfigRequest()
        request.config.ParseFromString(config.SerializeToString())
        return request

    def reload(self, config: wire.Message) -> Any:
        return self.call("HandleReloadConfigRequest", self.reload_request(config))

    def until(self, is_so: Callable[[], bool]) -> None:
        """Ask until it is so; the test's timeout is the limit."""
        while not is_so():
            pass

    def refused(self, method: str, request: Any) -> tuple[str, str]:
        """Return the status code's name and the details of a call that must fail."""
        with pytest.raises(grpc.RpcError) as raised:
            self.call(method, request)
        return raised.value.code().name, raised.value.details()


def with_examples(request: Any, *values: float) -> Any:
    """Add an Example {x: value} for each value."""
    request.input.example_list.SetInParent()
    for value in values:
        request.input.example_list.examples.add().features.feature["x"].float_list.value.append(value)
    return request


def http(
    base: str, path: str, body: Any = None, method: str | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes, Mapping[str, str]]:
    """Make a REST call, POST when there is a body; return status, body and headers, whatever the status."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    request = urllib.request.Request(base + path, data=body, method=method, headers=dict(headers or {}))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_S) as response:
            return response.status, response.read(), dict(response.headers.items())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), dict(error.headers.items())


def rest(base: str, path: str, body: Any = None, method: str | None = None, **headers: str) -> tuple[int, Any]:
    """Return status and JSON of a REST call."""
    status, answer, _ = http(base, path, body, method, headers)
    return status, json.loads(answer) if answer else None
