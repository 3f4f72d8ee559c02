"""The calls of PredictionService and ModelService as plain functions of messages, for the gRPC and the REST front alike.

They run in a worker thread: a prediction takes as long as the model does. Sources: predict_impl.cc,
classification_service.cc, multi_inference_helper.cc, get_model_metadata_impl.cc and get_model_status_impl.cc of
tensorflow_serving (commit 9d981c5c).
"""

from typing import Any, Final

from serving import wire
from serving.errors import InvalidArgument
from serving.local import examples
from serving.local.models import Models

_SIGNATURE_DEF: Final = "signature_def"


def predict(models: Models, request: wire.Message) -> wire.Message:
    """Answer a PredictRequest: the outputs, and which version they are from."""
    spec = _spec_of(request)
    with models.use(spec) as (version, engine):
        response = engine.predict(request)
    _fill(response.model_spec, spec, version)
    return response


def classify(models: Models, request: wire.Message) -> wire.Message:
    """Answer a ClassificationRequest: labels and scores of each Example."""
    return _infer(models, request, examples.CLASSIFY, wire.ClassificationResponse())


def regress(models: Models, request: wire.Message) -> wire.Message:
    """Answer a RegressionRequest: a value of each Example."""
    return _infer(models, request, examples.REGRESS, wire.RegressionResponse())


def multi_inference(models: Models, request: wire.Message) -> wire.Message:
    """Answer a MultiInferenceRequest: several signatures over the same Examples, by the version that the first names."""
    first = request.tasks[0].model_spec if request.tasks else wire.ModelSpec()
    with models.use(first) as (version, engine):
        tasks = _tasks(request, engine.signatures)
        results = examples.infer(engine, tasks, request.input)
    response = wire.MultiInferenceResponse()
    for asked, task, result in zip(request.tasks, tasks, results, strict=True):
        one = response.results.add()
        _fill(one.model_spec, asked.model_spec, version)
        field = one.classification_result if task.method == examples.CLASSIFY else one.regression_result
        field.CopyFrom(result)
    return response


def model_metadata(models: Models, request: wire.Message) -> wire.Message:
    """Answer a GetModelMetadataRequest with the version's signatures."""
    spec = _spec_of(request)
    if not request.metadata_field:
        raise InvalidArgument("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != _SIGNATURE_DEF:
            raise InvalidArgument(f"Metadata field {field} is not supported")
    with models.use(spec) as (version, engine):
        signatures = engine.signatures
    signature_map = wire.SignatureDefMap()
    for name, signature in signatures.items():
        signature_map.signature_def[name].CopyFrom(signature)
    response = wire.GetModelMetadataResponse()
    response.model_spec.name = spec.name
    response.model_spec.version.value = version
    response.metadata[_SIGNATURE_DEF].Pack(signature_map)
    return response


def model_status(models: Models, request: wire.Message) -> wire.Message:
    """Answer a GetModelStatusRequest: every version ever seen, or the one named. A label is ignored, as TF Serving does."""
    spec = _spec_of(request)
    response = wire.GetModelStatusResponse()
    for version, state, error in models.status(spec.name, spec.version.value if spec.HasField("version") else None):
        status = response.model_version_status.add(version=version, state=state)
        status.status.SetInParent()
        if error is not None:
            status.status.error_code = error.code.number
            status.status.error_message = error.message
    return response


def model_list(models: Models) -> dict[str, wire.Message]:
    """Return every model with its GetModelStatusResponse: what TF Serving has no call for."""
    return {
        name: model_status(models, wire.GetModelStatusRequest(model_spec={"name": name})) for name in models.names()
    }


def _spec_of(request: wire.Message) -> wire.Message:
    if not request.HasField("model_spec"):
        raise InvalidArgument("Missing ModelSpec")
    return request.model_spec


def _fill(target: wire.Message, spec: wire.Message, version: int) -> None:
    """Say who answered: the name as asked, the version found, and never the label."""
    target.name = spec.name
    target.version.value = version
    target.signature_name = spec.signature_name or wire.DEFAULT_SIGNATURE


def _infer(models: Models, request: wire.Message, method: str, response: wire.Message) -> wire.Message:
    spec = _spec_of(request)
    name = spec.signature_name or wire.DEFAULT_SIGNATURE
    with models.use(spec) as (version, engine):
        if name not in engine.signatures:
            raise InvalidArgument(f"No signature was found with the name: {name}")
        task = examples.task_of(method, engine.signatures[name])
        (result,) = examples.infer(engine, [task], request.input)
    response.result.CopyFrom(result)
    _fill(response.model_spec, spec, version)
    return response


def _tasks(request: wire.Message, signatures: Any) -> list[examples.Task]:
    """Read the tasks, in TF Serving's order of checks."""
    found: dict[str, examples.Task] = {}
    for asked in request.tasks:
        spec = asked.model_spec
        if not spec.name:
            raise InvalidArgument("Found ModelSpec with an empty model name.")
        if spec.name != request.tasks[0].model_spec.name:
            raise InvalidArgument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = spec.signature_name or wire.DEFAULT_SIGNATURE
        if name in found:
            raise InvalidArgument(f"Duplicate evaluation of signature: {name}")
        if name not in signatures:
            raise InvalidArgument(f"Requested signature not found in model graph: {name}")
        task = found[name] = examples.task_of(asked.method_name, signatures[name])
        if task.feed != next(iter(found.values())).feed:
            raise InvalidArgument("Input tensor must be the same for all Signatures.")
    return list(found.values())
