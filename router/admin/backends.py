"""What the model servers have loaded, as this gateway sees them, what they are to have, and how requests are batched."""

from collections.abc import Callable
from typing import Any

from aiohttp import web

from router.admin.answers import answer
from router.admin.application import Handlers
from router.admin.batching import NAMES, batching, nothing
from router.admin.gate import Caller
from router.aggregate import Aggregate
from router.metrics import Metrics, snapshot


class Backends:
    """The route that shows backends."""

    def __init__(self, view: Callable[[], list[dict[str, Any]]], *, aggregate: Aggregate, metrics: Metrics) -> None:
        """`metrics` are this process's own, `aggregate` adds up all."""
        self._view = view
        self._aggregate = aggregate
        self._metrics = metrics

    def handlers(self) -> Handlers:
        """Return the handlers by the names of their routes."""
        return {"backends": self._backends}

    async def _backends(self, request: web.Request, caller: Caller) -> web.Response:
        self._aggregate.update("control", snapshot(self._metrics.registry))
        # Some dozen series: less than it takes to hand them to a thread.
        found = batching(self._aggregate.collect(NAMES))
        return answer({"backends": [one | {"batching": found.get(one["name"], nothing())} for one in self._view()]})
