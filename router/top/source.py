"""What `turpin top` reads of a gateway: states, histories, backends, prices and a scrape; its events say when to read again."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import aiohttp

from router.admin_call import path_of, plain
from router.top.traffic import Scrape, Traffic, between
from turpin.transport import tls_context

# What is asked is a few kilobytes from near; a scrape of 50 arms takes 50 ms.
_TIMEOUT: Final = aiohttp.ClientTimeout(total=5.0)
# A stream says something every 15 s; one that is silent for three times as long is dead.
_STREAM: Final = aiohttp.ClientTimeout(total=None, connect=5.0, sock_read=45.0)
_AGAIN_S: Final = 1.0
# As many as a screen has room for beside all else.
EVENTS_MAX: Final = 10
# What the admin port answers where it can't read the store, and nowhere else.
_STORE_AWAY: Final = 503
# An experiment that was put away has nothing to show any more.
_AWAY: Final = frozenset({"archived"})

Document: TypeAlias = Mapping[str, Any]


class NotThere(Exception):
    """No gateway answers, in words for people."""


class NotAllowed(Exception):
    """A gateway answers that this caller may not read it, or it is none: asking again won't help."""


class StoreAway(Exception):
    """A gateway answers, but can't read its store: in its own words."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Experiments, and the newest lines of their histories, as they were at a moment (unix s; None: never seen)."""

    at: float | None = None
    experiments: tuple[Document, ...] = ()
    events: tuple[Document, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """What a gateway said at a moment (unix s). `traffic` is None at first, and after it was started again.

    While it can't read its store `store_away` says why, and experiments and events are those of `seen_at` (None: none were
    seen before).
    """

    at: float
    admin: str
    version: str
    experiments: tuple[Document, ...]
    backends: tuple[Document, ...]
    prices: tuple[Document, ...]
    traffic: Traffic | None
    events: tuple[Document, ...]
    seen_at: float | None = None
    store_away: str = ""

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "at": self.at,
            "gateway": self.admin,
            "version": self.version,
            "traffic": self.traffic and self.traffic.document(),
            "experiments": list(self.experiments),
            "backends": list(self.backends),
            "prices": list(self.prices),
            "events": list(self.events),
            "seen_at": self.seen_at,
            "store_away": self.store_away or None,
        }


class Source:
    """One gateway. Mutable: the last scrape, and the experiments that were last seen."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        admin: str,
        token: str,
        *,
        unix_now: Callable[[], float],
        experiment: str | None = None,
    ) -> None:
        """`experiment`: show this one alone."""
        self._session = session
        self._admin = admin.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        # Made once: it reads the system's certificates.
        self._tls = tls_context() if admin.startswith("https:") else True
        self._unix_now = unix_now
        self._experiment = experiment
        self._scraped: Scrape | None = None
        self._seen = Seen()

    async def read(self) -> Reading:
        """Ask for everything; NotThere or NotAllowed say why there is nothing."""
        version = await self._json("/admin/v1/version")
        away = ""
        try:
            self._seen = await self._experiments()
        except StoreAway as error:
            away = str(error)
        backends = (await self._json("/admin/v1/backends")).get("backends") or []
        prices = (await self._json("/admin/v1/prices")).get("prices") or []
        before, self._scraped = self._scraped, await self._scrape()
        return Reading(
            at=self._unix_now(),
            admin=self._admin,
            version=str(version.get("version", "")),
            experiments=self._seen.experiments,
            backends=tuple(backends),
            prices=tuple(prices),
            traffic=None if before is None else between(before, self._scraped),
            events=self._seen.events,
            seen_at=self._seen.at,
            store_away=away,
        )

    async def _experiments(self) -> Seen:
        """Read what is in the store; StoreAway says why it can't be read."""
        listed: list[Document] = (await self._json("/admin/v1/experiments")).get("experiments") or []
        shown = [one for one in listed if one.get("phase") not in _AWAY]
        if self._experiment is not None:
            shown = [one for one in listed if one.get("name") == self._experiment]
            if not shown:
                raise NotAllowed(f"there is no experiment '{plain(self._experiment)}'")
        states = [await self._state(one) for one in shown]
        events = [event for one in shown for event in await self._events(one)]
        newest = sorted(events, key=lambda event: event["now"])[-EVENTS_MAX:]
        return Seen(self._unix_now(), tuple(states), tuple(newest))

    async def follow(self, tell: Callable[[], None]) -> None:
        """Listen to the gateway's events for ever, and `tell` of each; a stream that ends is opened again."""
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                await self._listen(tell)
            await asyncio.sleep(_AGAIN_S)

    async def _listen(self, tell: Callable[[], None]) -> None:
        url = f"{self._admin}/admin/v1/events"
        async with self._session.get(
            url, headers=self._headers, timeout=_STREAM, ssl=self._tls, allow_redirects=False
        ) as answer:
            async for line in answer.content:
                if answer.status == 200 and line.startswith(b"event:"):
                    tell()

    async def _state(self, brief: Document) -> Document:
        """Return an experiment's state; of one that nothing is published of yet, what the list says."""
        status, body = await self._get(path_of(brief["name"], "state"))
        if status == _STORE_AWAY:
            raise StoreAway(plain(str(_object(body).get("detail", ""))))
        return _object(body) if status == 200 else brief

    async def _events(self, brief: Document) -> list[Document]:
        """Return the newest lines of an experiment's history, each with its name."""
        found = await self._json(f"{path_of(brief['name'], 'history')}?limit={EVENTS_MAX}")
        return [{"experiment": brief["name"], **note} for note in found.get("history") or ()]

    async def _scrape(self) -> Scrape:
        path = "/metrics"
        status, body = await self._get(path)
        at = asyncio.get_running_loop().time()
        try:
            return Scrape.read(at, body.decode())
        except ValueError:
            raise NotThere(f"{self._admin}{path} answers {status}, and no metrics") from None

    async def _json(self, path: str) -> Document:
        status, body = await self._get(path)
        found = _object(body)
        if status in (401, 403):
            raise NotAllowed(f"{self._admin} answers {status}: {plain(str(found.get('detail', 'send a token')))}")
        if status == _STORE_AWAY:
            raise StoreAway(plain(str(found.get("detail", ""))))
        if status != 200:
            raise NotThere(f"{self._admin} answers {status}: {plain(str(found.get('detail', 'nothing')))}")
        if not found:
            raise NotAllowed(f"{self._admin} is not an admin API of Turpin")
        return found

    async def _get(self, path: str) -> tuple[int, bytes]:
        # No redirects: they would take the token along, to whatever host the answer names.
        try:
            async with self._session.get(
                self._admin + path, headers=self._headers, timeout=_TIMEOUT, ssl=self._tls, allow_redirects=False
            ) as answer:
                return answer.status, await answer.read()
        except TimeoutError:
            raise NotThere(f"{self._admin} does not answer within {_TIMEOUT.total:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise NotThere(f"no gateway answers at {self._admin}: {plain(why)}") from None


def _object(body: bytes) -> dict[str, Any]:
    try:
        found: object = json.loads(body)
    except ValueError:
        found = None
    return dict(found) if isinstance(found, Mapping) else {}
