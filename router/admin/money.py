"""Money on the admin port: bills, prices of backends, and the operator's word on a price that waits."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web

from router import events
from router.admin.answers import Refused, answer
from router.admin.application import Handlers
from router.admin.desk import Asked, Row
from router.admin.first_answers import REPLAYED, first_answer, remembered
from router.admin.gate import Caller
from router.admin.reading import AUDIT
from router.admin.requests import OrderBody, asked, json_of, read, refuse_dry
from router.control.dossier import FirstAnswer
from router.control.feeds import Feeds
from router.control.price_book import FedPrice, decode
from router.problems import Problem
from router.store import Record, RevisionConflict, Store, StoreUnavailable

log = structlog.get_logger(__name__)

# The leader writes when a price moves; a few tries outlast it.
_TRIES: Final = 4


class Money:
    """The routes that show money. Prices are those this process has read; what waits is as the leader holds it."""

    def __init__(
        self, feeds: Feeds, costs: Callable[[], dict[str, Any]], *, store: Store, unix_now: Callable[[], float]
    ) -> None:
        """`costs` returns the bills of all model servers."""
        self._feeds = feeds
        self._costs = costs
        self._store = store
        self._unix_now = unix_now

    def handlers(self) -> Handlers:
        """Return the handlers by the names of their routes."""
        return {"prices": self._prices, "accept_price": self._accept, "costs": self._show_costs}

    async def _prices(self, request: web.Request, caller: Caller) -> web.Response:
        return answer({"prices": self._feeds.view()})

    async def _show_costs(self, request: web.Request, caller: Caller) -> web.Response:
        return answer(self._costs())

    async def _accept(self, request: web.Request, caller: Caller) -> web.Response:
        refuse_dry(request)
        backend = request.match_info["backend"]
        raw = await json_of(request)
        wanted = asked(request, caller, f"accept price of {backend}", raw, why=read(OrderBody, raw).reason)
        if backend not in self._feeds.quotes():
            raise Refused(Problem.NOT_FOUND, f"there is no backend {backend!r} with a price feed")
        for _ in range(_TRIES):
            found = {record.name: record for record in await self._store.prices()}.get(backend)
            before = FedPrice() if found is None else decode(found.document)
            if (first := first_answer(before.answers, wanted.key, wanted.fingerprint)) is not None:
                return answer(first.body, status=first.status, headers=REPLAYED)
            if found is None or before.waiting_usd_per_hour is None:
                raise Refused(Problem.STATE, f"no price waits to be accepted for backend {backend!r}")
            if before.accepted_usd_per_hour == before.waiting_usd_per_hour:
                raise Refused(Problem.STATE, f"the price of backend {backend!r} is accepted already, and about to hold")
            price = before.waiting_usd_per_hour
            body = msgspec.Raw(msgspec.json.encode({"backend": backend, "usd_per_hour": price}))
            try:
                await self._write(found, before, wanted, body)
            except RevisionConflict:
                continue
            log.info("price accepted", backend=backend, price=price, by=caller.name)
            return answer(body)
        raise StoreUnavailable(f"the price of backend {backend} changes too fast: try again")

    async def _write(self, found: Record, before: FedPrice, wanted: Asked, body: msgspec.Raw) -> None:
        """Leave the word for the leader, with its row of the audit and what a repetition is told, in one step."""
        now, answers = self._unix_now(), before.answers
        if wanted.key:
            answers = remembered(answers, wanted.key, FirstAnswer(wanted.fingerprint, now, 200, body))
        after = msgspec.structs.replace(before, accepted_usd_per_hour=before.waiting_usd_per_hour, answers=answers)
        row = Row(
            now,
            wanted.who,
            wanted.role,
            wanted.what,
            "",
            found.revision + 1,
            wanted.why,
            _prices_of(before),
            _prices_of(after),
        )
        entries = events.asked(AUDIT, row)
        await self._store.save_price(found.name, msgspec.json.encode(after), found.revision, None, entries)


def _prices_of(held: FedPrice) -> dict[str, Any]:
    """Return the prices for the audit, without the answers."""
    return {name: value for name, value in msgspec.structs.asdict(held).items() if name != "answers"}
