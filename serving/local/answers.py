"""The calls of PredictionService and ModelService as plain functions of messages, for the gRPC and the REST front alike.

They run in a worker thread: a prediction takes as long as the model does.
Classify, Regress and MultiInference are not there yet; a method that is not in `grpc_front` is UNIMPLEMENTED.
"""

from typing import Final

from serving import wire
from serving.errors import InvalidArgument
from serving.local.models import Models

_SIGNATURE_DEF: Final = "signature_def"


def predict(models: Models, request: wire.Message) -> wire.Message:
    """Answer a PredictRequest: the outputs, and which version they are from."""
    spec = request.model_spec
    with models.use(spec) as (version, engine):
        response = engine.predict(request)
    response.model_spec.name = spec.name
    response.model_spec.version.value = version
    response.model_spec.signature_name = spec.signature_name or wire.DEFAULT_SIGNATURE
    return response


def model_metadata(models: Models, request: wire.Message) -> wire.Message:
    """Answer a GetModelMetadataRequest with the version's signatures."""
    if not request.HasField("model_spec"):
        raise InvalidArgument("Missing ModelSpec")
    if not request.metadata_field:
        raise InvalidArgument("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != _SIGNATURE_DEF:
            raise InvalidArgument(f"Metadata field {field} is not supported")
    with models.use(request.model_spec) as (version, engine):
        signatures = engine.signatures
    signature_map = wire.SignatureDefMap()
    for name, signature in signatures.items():
        signature_map.signature_def[name].CopyFrom(signature)
    response = wire.GetModelMetadataResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = version
    response.metadata[_SIGNATURE_DEF].Pack(signature_map)
    return response


def model_status(models: Models, request: wire.Message) -> wire.Message:
    """Answer a GetModelStatusRequest: every version ever seen, or the one named. A label is ignored, as TF Serving does."""
    if not request.HasField("model_spec"):
        raise InvalidArgument("Missing ModelSpec")
    spec = request.model_spec
    response = wire.GetModelStatusResponse()
    for version, state, error in models.status(spec.name, spec.version.value if spec.HasField("version") else None):
        status = response.model_version_status.add(version=version, state=state)
        status.status.SetInParent()
        if error is not None:
            status.status.error_code = error.code.number
            status.status.error_message = error.message
    return response
