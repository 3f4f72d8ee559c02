"""Money on the admin port: bills, prices of backends, and the operator's word on a price that waits."""

from collections.abc import Callable
from typing import Any

import structlog
from aiohttp import web

from router.admin.answers import Refused, answer
from router.admin.application import Handlers
from router.admin.gate import Caller
from router.control.feeds import Feeds
from router.problems import Problem

log = structlog.get_logger(__name__)


class Money:
    """The routes that show money. Prices are those this process has read: all gateways read the same feeds."""

    def __init__(self, feeds: Feeds, costs: Callable[[], dict[str, Any]]) -> None:
        """`costs` returns the bills of all model servers."""
        self._feeds = feeds
        self._costs = costs

    def handlers(self) -> Handlers:
        """Return the handlers by the names of their routes."""
        return {"prices": self._prices, "accept_price": self._accept, "costs": self._show_costs}

    async def _prices(self, request: web.Request, caller: Caller) -> web.Response:
        return answer({"prices": self._feeds.view()})

    async def _show_costs(self, request: web.Request, caller: Caller) -> web.Response:
        return answer(self._costs())

    async def _accept(self, request: web.Request, caller: Caller) -> web.Response:
        backend = request.match_info["backend"]
        try:
            price = self._feeds.accept(backend)
        except KeyError:
            raise Refused(Problem.NOT_FOUND, f"there is no backend {backend!r} with a price feed") from None
        except ValueError as error:
            raise Refused(Problem.STATE, f"{error} for backend {backend!r}") from None
        log.info("price accepted", backend=backend, price=price, by=caller.name)
        return answer({"backend": backend, "usd_per_hour": price})
