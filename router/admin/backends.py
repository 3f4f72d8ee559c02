"""What the model servers have loaded, as this gateway sees them, what they are to have, and how requests are batched."""

from collections.abc import Callable
from typing import Any

from aiohttp import web

from router.admin.answers import answer
from router.admin.application import Handlers
from router.admin.batching import NAMES, batching, nothing, registry_of
from router.admin.gate import Caller
from router.aggregate import CONTROL, Aggregate
from router.metrics import Metrics, snapshot


class Backends:
    """The route that shows backends."""

    def __init__(self, view: Callable[[], list[dict[str, Any]]], *, aggregate: Aggregate, metrics: Metrics) -> None:
        """`metrics` are this process's own, `aggregate` adds up all."""
        self._view = view
        self._aggregate = aggregate
        self._own = registry_of(metrics)

    def handlers(self) -> Handlers:
        """Return the handlers by the names of their routes."""
        return {"backends": self._backends}

    async def _backends(self, request: web.Request, caller: Caller) -> web.Response:
        # Some dozen series, of this process too: less than it takes to hand them to a thread. All of its series, which are
        # those of every arm, took the loop 3 ms with 50 arms.
        found = batching(self._aggregate.collect(NAMES, {CONTROL: snapshot(self._own)}))
        return answer({"backends": [one | {"batching": found.get(one["name"], nothing())} for one in self._view()]})
