"""A stand-in for the gateway on real sockets: REST predictions, rewards and state, with faults a test asks for."""

from collections import Counter
from typing import Any, Self

import msgspec
import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from load.demo.plan import PIXELS


def images(count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return images whose first pixel is the digit they show, and these digits."""
    digits = np.arange(count) % 10
    pixels = np.zeros((count, PIXELS), np.float32)
    pixels[:, 0] = digits
    return pixels, digits


class StandIn:
    """A gateway on a free port for as long as its `async with` lasts. Its model reads every digit but `blind`.

    Mutable: what it has seen, and the faults yet to come.
    """

    def __init__(self, *, blind: int = -1) -> None:
        self.blind = blind
        self.predictions = 0
        self.rewards: dict[str, float] = {}
        self.reward_calls = 0
        # Statuses with which the next calls are refused; 0 cuts the connection after the work is done.
        self.reward_faults: list[int] = []
        self.predict_faults: list[int] = []
        self.refused_lines: Counter[str] = Counter()
        self.is_ready = True
        self.state: dict[str, Any] | None = None
        self.url = ""
        self.port = 0

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/v1/models/digits:predict", self._predict)
        app.router.add_post("/v1/rewards:batch", self._rewards)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/admin/v1/experiments/digits/state", self._state)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _predict(self, request: web.Request) -> web.Response:
        self.predictions += 1
        if self.predict_faults:
            return web.json_response({"error": "out of order"}, status=self.predict_faults.pop(0))
        (row,) = msgspec.json.decode(await request.read())["instances"]
        probabilities = [0.0] * 10
        probabilities[(int(row[0]) + (row[0] == self.blind)) % 10] = 1.0
        headers = {"turpin-decision": f"token-{self.predictions}", "turpin-arm": f"v{1 + self.predictions % 3}"}
        return web.json_response({"predictions": [probabilities]}, headers=headers)

    async def _rewards(self, request: web.Request) -> web.Response:
        self.reward_calls += 1
        fault = self.reward_faults.pop(0) if self.reward_faults else None
        if fault:
            return web.json_response({"title": "away"}, status=fault)
        answers = [self._record(msgspec.json.decode(line)) for line in (await request.read()).splitlines()]
        if fault == 0:
            assert request.transport is not None
            request.transport.close()
        return web.Response(body=b"\n".join(map(msgspec.json.encode, answers)), content_type="application/x-ndjson")

    def _record(self, claim: dict[str, Any]) -> dict[str, Any]:
        if claim["decision"] in self.refused_lines:
            return {"status": 410, "title": "window closed", "detail": "too late"}
        is_new = claim["decision"] not in self.rewards
        self.rewards.setdefault(claim["decision"], claim["reward"])
        return {"status": 202 if is_new else 200, "learned": True}

    async def _ready(self, request: web.Request) -> web.Response:
        return web.json_response({"ready": self.is_ready}, status=200 if self.is_ready else 503)

    async def _state(self, request: web.Request) -> web.Response:
        if self.state is None:
            return web.json_response({}, status=404)
        # As the gateway: all unique rewards, learned or not.
        self.state["arms"][0]["rewards"] = len(self.rewards)
        return web.json_response(self.state)
