"""Reads price feeds, beside everything else: a file every second, an https address now and then, with its ETag.

Only the control process does, never a request. What is read is judged by `router.control.quotes`.
"""

import asyncio
import os
import ssl
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
import structlog

from router.config.settings import Backend, Feed
from router.control import quotes
from router.control.quotes import FEED_BYTES_MAX, Quote

log = structlog.get_logger(__name__)

# A price in a file reaches the weights at the next refresh.
_FILE_S: Final = 1.0
# All of one reading: name, connection, TLS, body.
_READ_S: Final = 10.0


class Feeds:
    """The prices of all backends. Mutable: the quotes of those that have a feed, and the ETags of addresses."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        *,
        now: Callable[[], float],
        on_price: Callable[[str, float], None] = lambda backend, price: None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`now` is a clock in seconds that never jumps; `on_price` hears of each price that comes into force."""
        self._now = now
        self._on_price = on_price
        self._tls = tls
        self._feeds: dict[str, Feed] = {}
        self._fixed: dict[str, float] = {}
        for name, backend in backends.items():
            price = backend.price_usd_per_hour
            if isinstance(price, Feed):
                self._feeds[name] = price
            else:
                self._fixed[name] = price
                on_price(name, price)
        self._quotes = {name: Quote() for name in self._feeds}
        self._tags: dict[str, str] = {}

    def prices_usd_per_hour(self) -> dict[str, float]:
        """Return the prices in force; a backend whose price was never known is left out."""
        known = {name: quote.usd_per_hour for name, quote in self._quotes.items() if quote.usd_per_hour is not None}
        return self._fixed | known

    def warnings(self) -> dict[str, str]:
        """Return per backend, in words, why its price can't be relied on."""
        now = self._now()
        found = {
            name: quotes.warning(name, quote, now, self._feeds[name].max_age) for name, quote in self._quotes.items()
        }
        return {name: words for name, words in found.items() if words}

    def remember(self, prices_usd_per_hour: Mapping[str, float]) -> None:
        """Take over the prices that were decided by before this process began to lead."""
        for name, price in prices_usd_per_hour.items():
            if name in self._quotes:
                self._put(name, quotes.remembered(self._quotes[name], price))

    def quotes(self) -> dict[str, Quote]:
        """Return what is known of each price that comes from a feed."""
        return dict(self._quotes)

    def accept(self, backend: str, usd_per_hour: float) -> bool:
        """Put the price that waits into force if an operator's word covers it; say whether that word has been heard."""
        quote, is_heard = quotes.accepted(self._quotes[backend], usd_per_hour)
        self._put(backend, quote)
        return is_heard

    def follow(self, backend: str, usd_per_hour: float | None, waiting_usd_per_hour: float | None) -> None:
        """Take over what the leader holds of a price."""
        self._put(backend, quotes.led(self._quotes[backend], usd_per_hour, waiting_usd_per_hour))

    def view(self) -> list[dict[str, Any]]:
        """Return all prices as `/admin/v1/prices` shows them."""
        now, warnings, prices = self._now(), self.warnings(), self.prices_usd_per_hour()
        found = []
        for name in sorted({*self._fixed, *self._feeds}):
            feed, quote = self._feeds.get(name), self._quotes.get(name, Quote())
            is_fed = feed is not None
            found.append(
                {
                    "backend": name,
                    "usd_per_hour": prices.get(name),
                    "feed": feed and feed.shown(),
                    "key": feed and feed.key,
                    "age_s": None if quote.read_at is None else max(0.0, now - quote.read_at),
                    "stale": feed is not None and quotes.is_stale(quote, now, feed.max_age),
                    "waiting_usd_per_hour": quote.waiting_usd_per_hour if is_fed else None,
                    "error": quote.error,
                    "warning": warnings.get(name, ""),
                }
            )
        return found

    async def run(self) -> None:
        """Read all feeds for ever; one reader each, however many backends read the same one."""
        timeout = aiohttp.ClientTimeout(total=_READ_S)
        connector = aiohttp.TCPConnector(ssl=self._tls or True)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session, asyncio.TaskGroup() as tasks:
            for source in dict.fromkeys(feed.feed for feed in self._feeds.values()):
                tasks.create_task(self._follow(source, session), name="read prices")

    async def read(self, source: str, session: aiohttp.ClientSession | None) -> None:
        """Read one feed once, and judge what it says."""
        try:
            raw = await self._raw(source, session)
        except (OSError, TimeoutError, aiohttp.ClientError, ValueError) as error:
            # Of an address only its host is known to hold no secret; the error may quote the whole.
            why = str(error) if source.startswith("file:") or type(error) is ValueError else type(error).__name__
            self._tell(source, lambda quote, key: quotes.failed(quote, why))
            return
        self._tell(source, lambda quote, key: self._told(quote, raw, key))

    async def _follow(self, source: str, session: aiohttp.ClientSession) -> None:
        is_file = source.startswith("file:")
        every_s = _FILE_S if is_file else min(feed.every for feed in self._feeds.values() if feed.feed == source)
        while True:
            await self.read(source, session)
            await asyncio.sleep(every_s)

    def _told(self, quote: Quote, raw: bytes | None, key: str) -> Quote:
        if raw is None:
            # Unchanged: as good as read again.
            price = quote.usd_per_hour if quote.waiting_usd_per_hour is None else quote.waiting_usd_per_hour
            return quote if price is None else quotes.told(quote, price, self._now())
        try:
            return quotes.told(quote, quotes.price_in(raw, key), self._now())
        except ValueError as error:
            return quotes.failed(quote, str(error))

    def _tell(self, source: str, judge: Callable[[Quote, str], Quote]) -> None:
        for name, feed in self._feeds.items():
            if feed.feed == source:
                self._put(name, judge(self._quotes[name], feed.key))

    def _put(self, name: str, quote: Quote) -> None:
        before = self._quotes[name]
        self._quotes[name] = quote
        if quote.usd_per_hour != before.usd_per_hour and quote.usd_per_hour is not None:
            log.info("price changed", backend=name, before=before.usd_per_hour, after=quote.usd_per_hour)
            self._on_price(name, quote.usd_per_hour)
        if quote.waiting_usd_per_hour is not None and quote.waiting_usd_per_hour != before.waiting_usd_per_hour:
            log.warning("price waits for an operator", backend=name, price=quote.waiting_usd_per_hour)
        if quote.error and quote.error != before.error:
            log.warning("price feed not readable", backend=name, reason=quote.error)

    async def _raw(self, source: str, session: aiohttp.ClientSession | None) -> bytes | None:
        """Return what the feed says now; None when it says that nothing has changed."""
        if source.startswith("file:"):
            return await asyncio.to_thread(_file, Path(source.removeprefix("file:")))
        assert session is not None  # noqa: S101 only files are read without one
        headers = {"If-None-Match": self._tags[source]} if source in self._tags else {}
        # A redirect could lead to an address nobody configured.
        async with session.get(source, headers=headers, allow_redirects=False) as response:
            if response.status == 304:
                return None
            if response.status != 200:
                raise ValueError(f"the feed answered {response.status}")
            raw = await _body(response)
            self._tags.pop(source, None)
            if "ETag" in response.headers:
                self._tags[source] = response.headers["ETag"]
            return raw


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """Return the body; ValueError for one that is larger than any feed, of which no more is read."""
    raw = bytearray()
    async for part in response.content.iter_chunked(65536):
        raw += part
        if len(raw) > FEED_BYTES_MAX:
            raise ValueError(f"it has more than {FEED_BYTES_MAX} bytes")
    return bytes(raw)


def _file(path: Path) -> bytes:
    """Return what is in a regular file; a pipe or a device would hold up its reader for as long as it likes."""
    # Without blocking: opening a pipe that nobody writes to waits for somebody who does.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"{path} is no regular file")
        return file.read(FEED_BYTES_MAX + 1)
