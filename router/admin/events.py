"""`/admin/v1/events`: what happens, as it happens, as server-sent events.

A reader that comes again with Last-Event-ID gets what it missed, at any gateway; one that can't be given that hears
`reset`, and reads the state anew. Nobody who reads slowly is waited for: what waits for each is bounded.
"""

import asyncio
import contextlib
import math
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web

from router import events
from router.admin.answers import Refused
from router.admin.application import Handlers
from router.admin.gate import Caller
from router.problems import Problem
from router.store import Store, StoreError

log = structlog.get_logger(__name__)

# As often as the leader changes anything.
_LOOK_S: Final = 1.0
# Proxies close what is silent for a minute, some for 30 s.
ALIVE_S: Final = 15.0
# A console and a few scripts; each costs a connection and what waits for it.
STREAMS_MAX: Final = 32
# An experiment that ends tells ten events in a second. A reader behind by more has gone to sleep.
WAITING_MAX: Final = 2 * events.CAUGHT_UP_MAX
# What a socket doesn't take within this is not read; when the port closes nobody waits for it that long.
_WRITE_S: Final = 10.0
_LAST_WRITE_S: Final = 0.5
_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Accel-Buffering": "no",  # nginx would hold events back
}

Numbered = tuple[int, bytes]


class _Stream:
    """One reader. Mutable: the number of the last event it was given, what waits (None: the end), whether it is cut off,
    the deadline of what is being written, and when it has to be done (loop time; infinite until it closes)."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.waiting: asyncio.Queue[Numbered | None] = asyncio.Queue(WAITING_MAX)
        self.is_cut = False
        self._writing: asyncio.Timeout | None = None
        self._ends_at = math.inf

    async def write(self, response: web.StreamResponse, raw: bytes) -> None:
        """Send bytes; TimeoutError when its reader does not take them."""
        try:
            now = asyncio.get_running_loop().time()
            async with asyncio.timeout_at(min(now + _WRITE_S, self._ends_at)) as self._writing:
                await response.write(raw)
        finally:
            self._writing = None

    def give(self, found: Iterable[Numbered]) -> None:
        """Have events sent; where they find no room the stream is cut off, and its reader comes again for them."""
        for number, event in found:
            if number > self.number:
                self._put((number, event))
                self.number = number

    def end(self) -> None:
        """Have it end after what it was given."""
        self._put(None)

    def close(self) -> None:
        """Have it end now: what its reader does not take at once, of all that waits, it gets when it comes again."""
        self._ends_at = asyncio.get_running_loop().time() + _LAST_WRITE_S
        if self.waiting.full():
            self.is_cut = True
        else:
            self.end()
        if self._writing is not None and not self._writing.expired():
            self._writing.reschedule(self._ends_at)

    def _put(self, item: Numbered | None) -> None:
        try:
            self.waiting.put_nowait(item)
        except asyncio.QueueFull:
            if not self.is_cut:
                log.warning("reader of events cut off: it reads too slowly", waiting=WAITING_MAX)
            self.is_cut = True


class Events:
    """The route. Mutable: those who read now, and whether the gateway ends."""

    def __init__(self, store: Store, *, look_s: float = _LOOK_S, alive_s: float = ALIVE_S) -> None:
        self._store = store
        self._look_s = look_s
        self._alive_s = alive_s
        self._streams: set[_Stream] = set()
        self._opening = 0
        self._is_closed = False

    def handlers(self) -> Handlers:
        """Return the handlers by the names of their routes."""
        return {"events": self._show}

    @property
    def readers(self) -> int:
        """How many read now, without those that are cut off."""
        return sum(not stream.is_cut for stream in self._streams)

    async def run(self) -> None:
        """Look for new events while anybody reads, for ever; one look serves all."""
        while True:
            await asyncio.sleep(self._look_s)
            streams = [stream for stream in self._streams if not stream.is_cut]
            if not streams:
                continue
            with contextlib.suppress(StoreError):
                found = await events.since(self._store, min(stream.number for stream in streams))
                for stream in streams:
                    if found is None:
                        # The store is another one, or was far away: they come again, and are told.
                        stream.end()
                    else:
                        stream.give(found)

    async def close(self, app: web.Application) -> None:
        """End all streams, so that the port can close: readers come again, to whoever serves then."""
        self._is_closed = True
        for stream in self._streams:
            stream.close()

    async def _show(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        if request.method == "HEAD":
            return web.Response(headers=_HEADERS)
        if len(self._streams) + self._opening >= STREAMS_MAX:
            raise Refused(Problem.BUSY, f"{STREAMS_MAX} streams of events are open: close one, or come again")
        self._opening += 1
        try:
            stream, first = await self._begun(request)
            if self._is_closed:
                # Perhaps since it was begun: nobody would end it.
                raise Refused(Problem.BUSY, "this gateway ends: come again")
            self._streams.add(stream)
        finally:
            self._opening -= 1
        response = web.StreamResponse(headers=_HEADERS)
        try:
            await response.prepare(request)
            await self._serve(response, stream, first, request.query.get("experiment"))
        except (TimeoutError, ConnectionError):
            # Not closed in order: what the socket holds would be waited for.
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._streams.discard(stream)
        return response

    async def _begun(self, request: web.Request) -> tuple[_Stream, bytes]:
        """Return the stream with what it missed, and the first bytes to send."""
        hello = b"retry: 1000\n\n"
        text = request.headers.get("Last-Event-ID")
        if text is None:
            return _Stream(await events.newest(self._store)), hello
        missed = await events.since(self._store, int(text)) if text.isascii() and text.isdecimal() else None
        if missed is not None:
            stream = _Stream(int(text))
            stream.give(missed)
            return stream, hello
        number = await events.newest(self._store)
        return _Stream(number), hello + b"id: %d\nevent: reset\ndata: {}\n\n" % number

    async def _serve(self, response: web.StreamResponse, stream: _Stream, first: bytes, experiment: str | None) -> None:
        await stream.write(response, first)
        while not stream.is_cut:
            try:
                async with asyncio.timeout(self._alive_s):
                    item = await stream.waiting.get()
            except TimeoutError:
                await stream.write(response, b": alive\n\n")
                continue
            if item is None:
                return
            sent = _sent(*item, experiment)
            if sent:
                await stream.write(response, sent)


def _sent(number: int, event: bytes, experiment: str | None) -> bytes:
    """Return an event as it is sent, nothing for one of another experiment than asked for."""
    about: dict[str, Any] = msgspec.json.decode(event)
    if experiment is not None and about["experiment"] != experiment:
        return b""
    # JSON of msgspec has no line break.
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, about["kind"].encode(), event)
