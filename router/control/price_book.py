"""What the leader holds of prices that come from feeds, kept in the store: any gateway shows it, and takes an operator's
word on a price that waits; the leader hears of it within a second."""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from router.control.dossier import FirstAnswer
from router.control.feeds import Feeds
from router.store import Fenced, Record, RevisionConflict, Store, StoreError

log = structlog.get_logger(__name__)

# As often as the leader turns: an operator's word reaches the weights at the second refresh.
_LOOK_S: Final = 1.0


class FedPrice(msgspec.Struct, frozen=True):
    """A backend's price in dollars an hour: in force, waiting, and the waiting one that an operator has accepted; and the
    first answers to those who sent an Idempotency-Key.
    """

    usd_per_hour: float | None = None
    waiting_usd_per_hour: float | None = None
    accepted_usd_per_hour: float | None = None
    answers: dict[str, FirstAnswer] = {}


def decode(document: bytes) -> FedPrice:
    """Read what the store holds."""
    return msgspec.json.decode(document, type=FedPrice)


class PriceBook:
    """Keeps store and feeds of one process alike."""

    def __init__(self, store: Store, feeds: Feeds, fence: Callable[[], int | None]) -> None:
        """`fence` returns that of the lease on leading, None when this process does not lead."""
        self._store, self._feeds, self._fence = store, feeds, fence

    async def run(self) -> None:
        """Write as the leader, read as anybody else, for ever."""
        while True:
            try:
                await self.turn()
            except StoreError:
                # The leader says it.
                pass
            except Exception:  # Bulkhead: one turn nobody foresaw must not end the control process.
                log.exception("the price book failed")
            await asyncio.sleep(_LOOK_S)

    async def turn(self) -> None:
        """Do both once. StoreError when the store is away."""
        fence = self._fence()
        records = {record.name: record for record in await self._store.prices()} if self._feeds.quotes() else {}
        for backend in self._feeds.quotes():
            record = records.get(backend)
            if fence is not None:
                await self._lead(backend, record, fence)
            elif record is not None:
                there = decode(record.document)
                self._feeds.follow(backend, there.usd_per_hour, there.waiting_usd_per_hour)

    async def _lead(self, backend: str, record: Record | None, fence: int) -> None:
        there = FedPrice() if record is None else decode(record.document)
        word = there.accepted_usd_per_hour
        if word is not None and self._feeds.accept(backend, word):
            word = None
        quote = self._feeds.quotes()[backend]
        held = FedPrice(quote.usd_per_hour, quote.waiting_usd_per_hour, word, there.answers)
        if held == there:
            return
        try:
            await self._store.save_price(
                backend, msgspec.json.encode(held), 0 if record is None else record.revision, fence
            )
        except (RevisionConflict, Fenced):
            # Somebody wrote or leads now: the next turn reads it.
            log.info("price changed meanwhile", backend=backend)
