"""BentoML: a service with a batching model, and one that draws between two of them. Each is a process of its own."""

from typing import Annotated, Any

import bentoml
import numpy as np
from bentoml.validators import DType, Shape

from load.bench.peers.servers.work import ROWS_MAX, Bandit, Model

Rows = Annotated[np.ndarray, DType("float32"), Shape((-1, 256))]
_LATENCY_MAX_MS = 1000
_SETTINGS: dict[str, Any] = {
    "workers": 1,
    "traffic": {"timeout": 30},
    # By default a connection is closed after 100 requests, and with it the calls that are under way: one in ten fails.
    "runner_connection": {"max_requests": 10**9, "max_age": 1e6},
    "metrics": {"enabled": False},
    "logging": {"access": {"enabled": False}},
}


@bentoml.service(**_SETTINGS)
class First:
    """The first model, and the only one where nobody draws."""

    def __init__(self) -> None:
        self._model = Model(0)

    @bentoml.api(batchable=True, max_batch_size=ROWS_MAX, max_latency_ms=_LATENCY_MAX_MS)
    def predict(self, instances: Rows) -> np.ndarray:
        """Answer a batch."""
        return self._model(instances)


@bentoml.service(**_SETTINGS)
class Second:
    """The second model."""

    def __init__(self) -> None:
        self._model = Model(1)

    @bentoml.api(batchable=True, max_batch_size=ROWS_MAX, max_latency_ms=_LATENCY_MAX_MS)
    def predict(self, instances: Rows) -> np.ndarray:
        """Answer a batch."""
        return self._model(instances)


@bentoml.service(**_SETTINGS)
class Router:
    """Draws one of the two, and asks it."""

    first = bentoml.depends(First)
    second = bentoml.depends(Second)

    def __init__(self) -> None:
        self._bandit = Bandit()

    @bentoml.api
    async def predict(self, instances: Rows) -> np.ndarray:
        """Answer one request."""
        arm = (self.first, self.second)[self._bandit.draw()]
        answer: np.ndarray = await arm.to_async.predict(instances=instances)
        return answer
