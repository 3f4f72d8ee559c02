"""One model in mosec: a front in Rust, a Python process that gets batches. `json` or `raw` (float32 as they lie in memory)."""

import sys
from typing import Any

import msgspec
import numpy as np
from mosec import Server, Worker
from numpy.typing import NDArray

from load.bench.peers.servers.work import ROWS_MAX, WAIT_MAX_S, Model


class Json(Worker):
    """JSON, by the quickest library there is."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()

    def deserialize(self, data: bytes) -> NDArray[Any]:
        """Read one request."""
        return np.asarray(msgspec.json.decode(data)["instances"], np.float32)

    def forward(self, data: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Answer a batch."""
        return list(self.model(np.concatenate(data)))

    def serialize(self, data: NDArray[Any]) -> bytes:
        """Write one answer."""
        return msgspec.json.encode({"predictions": [data.tolist()]})


class Raw(Json):
    """The numbers as bytes: nothing is cheaper."""

    def deserialize(self, data: bytes) -> NDArray[Any]:
        """Read one request."""
        return np.frombuffer(data, np.float32)[np.newaxis]

    def serialize(self, data: NDArray[Any]) -> bytes:
        """Write one answer."""
        return data.tobytes()


if __name__ == "__main__":
    kind = Raw if sys.argv.pop(1) == "raw" else Json
    server = Server()
    server.append_worker(kind, num=1, max_batch_size=ROWS_MAX, max_wait_time=round(WAIT_MAX_S * 1e3))
    server.run()
