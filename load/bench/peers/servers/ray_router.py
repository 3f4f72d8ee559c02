"""Ray Serve: a deployment that draws between two others, which batch. `PORT FOLDER` are its arguments."""

import signal
import sys
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request

from load.bench.peers.servers.work import ARMS, ROWS_MAX, WAIT_MAX_S, Bandit, Model

_MB = 1_000_000
_SETTINGS: dict[str, Any] = {
    "ray_actor_options": {"num_cpus": 0},
    "max_ongoing_requests": 256,
    "logging_config": {"enable_access_log": False, "log_level": "ERROR"},
}


class Arm:
    """One arm."""

    def __init__(self, arm: int) -> None:
        self._model = Model(arm)

    @serve.batch(max_batch_size=ROWS_MAX, batch_wait_timeout_s=WAIT_MAX_S)
    async def __call__(self, rows: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Answer a batch."""
        return list(self._model(np.concatenate(rows)))


class Router:
    """Draws an arm, and asks it."""

    def __init__(self, *arms: DeploymentHandle) -> None:
        self._bandit, self._arms = Bandit(), arms

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer one request."""
        rows = np.asarray((await request.json())["instances"], np.float32)
        answer = await self._arms[self._bandit.draw()].remote(rows)
        return {"predictions": [answer.tolist()]}


if __name__ == "__main__":
    ray.init(
        num_cpus=1,
        include_dashboard=False,
        object_store_memory=100 * _MB,
        _temp_dir=sys.argv[2],
        log_to_driver=False,
        logging_level="error",
    )
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(sys.argv[1])}, logging_config=_SETTINGS["logging_config"]
    )
    arms = [serve.deployment(name=f"v{arm + 1}", **_SETTINGS)(Arm).bind(arm) for arm in range(ARMS)]
    serve.run(serve.deployment(**_SETTINGS)(Router).bind(*arms), name="bench", route_prefix="/")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
