"""TF Serving's messages without TensorFlow: classes built from `tfs.desc` in a descriptor pool of their own.

Importing tensorflow_serving.apis loads all of TensorFlow (8-10 s, 700 MB); this takes 0.05 s, and beside it a process
may hold the official stubs too, since the two pools do not meet. Messages are untyped here by nature: protobuf builds
the classes at run time.
"""

from importlib import resources
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from serving.errors import InvalidArgument

Message = Any  # One of the classes below; an alias, for the reader.


def _build_pool() -> descriptor_pool.DescriptorPool:
    """Load the descriptor set into a pool that shares nothing with protobuf's default one."""
    files = descriptor_pb2.FileDescriptorSet.FromString(resources.files("serving").joinpath("tfs.desc").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return pool


_POOL: Final = _build_pool()


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


ModelSpec: Final = _message("tensorflow.serving.ModelSpec")
PredictRequest: Final = _message("tensorflow.serving.PredictRequest")
PredictResponse: Final = _message("tensorflow.serving.PredictResponse")
ClassificationRequest: Final = _message("tensorflow.serving.ClassificationRequest")
ClassificationResponse: Final = _message("tensorflow.serving.ClassificationResponse")
ClassificationResult: Final = _message("tensorflow.serving.ClassificationResult")
RegressionRequest: Final = _message("tensorflow.serving.RegressionRequest")
RegressionResponse: Final = _message("tensorflow.serving.RegressionResponse")
RegressionResult: Final = _message("tensorflow.serving.RegressionResult")
MultiInferenceRequest: Final = _message("tensorflow.serving.MultiInferenceRequest")
MultiInferenceResponse: Final = _message("tensorflow.serving.MultiInferenceResponse")
GetModelMetadataRequest: Final = _message("tensorflow.serving.GetModelMetadataRequest")
GetModelMetadataResponse: Final = _message("tensorflow.serving.GetModelMetadataResponse")
SignatureDefMap: Final = _message("tensorflow.serving.SignatureDefMap")
GetModelStatusRequest: Final = _message("tensorflow.serving.GetModelStatusRequest")
GetModelStatusResponse: Final = _message("tensorflow.serving.GetModelStatusResponse")
ReloadConfigRequest: Final = _message("tensorflow.serving.ReloadConfigRequest")
ReloadConfigResponse: Final = _message("tensorflow.serving.ReloadConfigResponse")
ModelServerConfig: Final = _message("tensorflow.serving.ModelServerConfig")
ModelConfig: Final = _message("tensorflow.serving.ModelConfig")
TensorProto: Final = _message("tensorflow.TensorProto")
SignatureDef: Final = _message("tensorflow.SignatureDef")

# gRPC method paths; all are unary.
PREDICT: Final = "/tensorflow.serving.PredictionService/Predict"
CLASSIFY: Final = "/tensorflow.serving.PredictionService/Classify"
REGRESS: Final = "/tensorflow.serving.PredictionService/Regress"
MULTI_INFERENCE: Final = "/tensorflow.serving.PredictionService/MultiInference"
GET_MODEL_METADATA: Final = "/tensorflow.serving.PredictionService/GetModelMetadata"
GET_MODEL_STATUS: Final = "/tensorflow.serving.ModelService/GetModelStatus"
RELOAD_CONFIG: Final = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"

# ModelVersionStatus.State
UNKNOWN: Final = 0
START: Final = 10
LOADING: Final = 20
AVAILABLE: Final = 30
UNLOADING: Final = 40
END: Final = 50
STATE_NAMES: Final = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}

DEFAULT_SIGNATURE: Final = "serving_default"


def parse(message_class: Any, body: bytes) -> Message:
    """Parse bytes from outside; InvalidArgument names the message that could not be read."""
    try:
        return message_class.FromString(body)
    except DecodeError as error:
        name = message_class.DESCRIPTOR.name
        raise InvalidArgument(f"the body is no {name}: {len(body)} bytes that protobuf can't parse") from error
