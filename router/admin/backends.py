"""What the model servers have loaded, as this gateway sees them, and what they are to have."""

from collections.abc import Callable
from typing import Any

from aiohttp import web

from router.admin.answers import answer
from router.admin.application import Handlers
from router.admin.gate import Caller


class Backends:
    """The route that shows backends."""

    def __init__(self, view: Callable[[], list[dict[str, Any]]]) -> None:
        self._view = view

    def handlers(self) -> Handlers:
        """Return the handlers by the names of their routes."""
        return {"backends": self._backends}

    async def _backends(self, request: web.Request, caller: Caller) -> web.Response:
        return answer({"backends": self._view()})
