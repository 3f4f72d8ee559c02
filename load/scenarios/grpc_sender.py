"""gRPC requests for the stories, without the official stubs: those load all of TensorFlow into the client."""

from collections.abc import Mapping

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray

from load.demo.plan import INPUT, MODEL, OUTPUT
from load.demo.senders import TIMEOUT_S, Answer, Failed, answer_of
from serving import arrays, wire


class GrpcSender:
    """TF Serving's gRPC API: `PredictionService/Predict`."""

    def __init__(self, channel: grpc.aio.Channel, pixels: NDArray[np.float32], versions: Mapping[str, int]) -> None:
        """`pixels`: [images, 64]; `versions`: that of each arm, to see that answers come from the arm they name."""
        self._call = channel.unary_unary(wire.PREDICT)
        self._requests = [_request(image) for image in pixels]
        self._versions = versions

    async def predict(self, image: int) -> Answer:
        """Ask for image number `image`; raises Failed."""
        call = self._call(self._requests[image], timeout=TIMEOUT_S, wait_for_ready=True)
        try:
            response = wire.PredictResponse.FromString(await call)
            metadata = {str(key): str(value) for key, value in await call.trailing_metadata()}
        except grpc.aio.AioRpcError as error:
            is_away = error.code() == grpc.StatusCode.UNAVAILABLE
            raise Failed(f"gRPC {error.code().name}: {error.details()}", is_away=is_away) from error
        if OUTPUT not in response.outputs:
            raise Failed(f"gRPC: an answer without {OUTPUT}: {sorted(response.outputs)}")
        answer = answer_of(arrays.to_numpy(response.outputs[OUTPUT]).ravel().tolist(), metadata)
        # An answer of one model under another's name would be the worst of faults.
        if response.model_spec.version.value != self._versions.get(answer.arm):
            raise Failed(f"gRPC: version {response.model_spec.version.value} answered as arm {answer.arm}")
        return answer


def _request(image: NDArray[np.float32]) -> bytes:
    request = wire.PredictRequest(model_spec={"name": MODEL})
    request.inputs[INPUT].CopyFrom(arrays.from_numpy(image[np.newaxis], as_content=True))
    return bytes(request.SerializeToString())
