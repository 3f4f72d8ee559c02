"""One model in LitServe: FastAPI in a process, the model in another. `PORT` is its argument."""

import sys
from typing import Any

import litserve
import numpy as np
from numpy.typing import NDArray

from load.bench.peers.servers.work import ROWS_MAX, WAIT_MAX_S, Model


class Api(litserve.LitAPI):
    """Its way through a request, in the order in which it is called."""

    def setup(self, device: str) -> None:
        """Load the model, in its process."""
        self.model = Model()

    def decode_request(self, request: dict[str, Any]) -> NDArray[Any]:
        """Read one request."""
        return np.asarray(request["instances"], np.float32)

    def batch(self, inputs: list[NDArray[Any]]) -> NDArray[Any]:
        """Make a batch."""
        return np.concatenate(inputs)

    def predict(self, x: NDArray[Any]) -> NDArray[Any]:
        """Answer a batch."""
        return self.model(x)

    def unbatch(self, output: NDArray[Any]) -> list[NDArray[Any]]:
        """Take it apart."""
        return list(output)

    def encode_response(self, output: NDArray[Any]) -> dict[str, Any]:
        """Write one answer."""
        return {"predictions": [output.tolist()]}


if __name__ == "__main__":
    api = Api(max_batch_size=ROWS_MAX, batch_timeout=WAIT_MAX_S)
    # Its queue over ZeroMQ: a request cost 6 % less than with the one that is its default.
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, log_level="error", generate_client_file=False
    )
