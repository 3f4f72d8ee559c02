"""The official tensorflow-serving-api stubs, used as TF Serving's users use them.

Importing this module loads all of TensorFlow (8-10 s, 700 MB): the demo does it while the models are trained.
"""

import asyncio

import grpc
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow_serving.apis import (  # noqa: TID251 the demo is a client like any other
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from load.demo.plan import INPUT, MODEL, OUTPUT
from load.demo.senders import TIMEOUT_S, Answer, Failed, answer_of

# A gateway that was restarted is found again within a second; gRPC's own back-off grows to two minutes.
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.enable_http_proxy", 0),
)
# Twice the longest back-off.
_CONNECT_S = 1.0


def open_channel(port: int) -> grpc.aio.Channel:
    """Open a channel to a port of this machine."""
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_OPTIONS)


async def is_connected(channel: grpc.aio.Channel) -> bool:
    """Whether the channel has a connection, or gets one within a second; calls made before would fail at once."""
    try:
        async with asyncio.timeout(_CONNECT_S):
            await channel.channel_ready()
    except TimeoutError:
        return False
    return True


class GrpcSender:
    """TF Serving's gRPC API: `PredictionService/Predict`."""

    def __init__(self, channel: grpc.aio.Channel, pixels: NDArray[np.float32]) -> None:
        """`pixels`: [images, 64]."""
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self._requests = [_request(image) for image in pixels]

    async def predict(self, image: int) -> Answer:
        """Ask for image number `image`; raises Failed."""
        # Without a connection the call waits for one instead of failing: it was never sent.
        call = self._stub.Predict(self._requests[image], timeout=TIMEOUT_S, wait_for_ready=True)
        try:
            response = await call
            metadata = dict(await call.trailing_metadata())
        except grpc.aio.AioRpcError as error:
            is_away = error.code() == grpc.StatusCode.UNAVAILABLE
            raise Failed(f"gRPC {error.code().name}: {error.details()}", is_away=is_away) from error
        if OUTPUT not in response.outputs:
            raise Failed(f"gRPC: an answer without {OUTPUT}: {sorted(response.outputs)}")
        answer = answer_of(tf.make_ndarray(response.outputs[OUTPUT]).ravel().tolist(), metadata)
        # The arm's name says its version: an answer of one model under another's name would be the worst of faults.
        if answer.arm != f"v{response.model_spec.version.value}":
            raise Failed(f"gRPC: version {response.model_spec.version.value} answered as arm {answer.arm}")
        return answer


def _request(image: NDArray[np.float32]) -> object:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL
    request.inputs[INPUT].CopyFrom(tf.make_tensor_proto(image[np.newaxis]))
    return request


class ModelServer:
    """The model server itself, asked past the gateway: its own word is the proof that a model is gone."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = model_service_pb2_grpc.ModelServiceStub(channel)

    async def states(self) -> dict[int, str]:
        """Return the state of every version it has known ("AVAILABLE", "END", …); {} while it does not answer."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = MODEL
        try:
            response = await self._stub.GetModelStatus(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError:
            return {}
        name = get_model_status_pb2.ModelVersionStatus.State.Name
        return {status.version: name(status.state) for status in response.model_version_status}
