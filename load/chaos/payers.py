"""Clients that bring rewards: each sends one call at a time, and writes the answer into its own book before the next."""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import aiohttp
import msgspec

from load.chaos.books import Book, Line, outcome_of

STEPS: Final = 2**16
_TIMEOUT = aiohttp.ClientTimeout(total=15.0)
_AGAIN_S: Final = 0.05


class Due(msgspec.Struct, frozen=True):
    """A reward to be sent: of which decision, of which event, and how much (parts of 2^-16)."""

    decision: str
    event: str
    steps: int


class _Claim(msgspec.Struct):
    decision: str
    reward: float
    event: str


class _Answer(msgspec.Struct):
    status: int
    durability: str = ""


class Payers:
    """So many clients. Mutable: rewards whose bytes were sent and that have no answer yet; those that stayed open, to be
    sent again; what was said of durability; refusals."""

    def __init__(self, urls: Sequence[str], books: Path, clients: int, rng: random.Random) -> None:
        """`urls`: the HTTP addresses of the gateways, used in turn; `books`: the folder for the clients' files."""
        trace = aiohttp.TraceConfig()
        trace.on_request_chunk_sent.append(self._sent)
        # A connection for every client: none waits for another's.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=_TIMEOUT, trace_configs=[trace]
        )
        self._urls, self._rng = urls, rng
        self._books = [Book(books / f"client-{number}.jsonl") for number in range(clients)]
        self._idle = list(range(clients))
        self._turn = 0
        self.in_flight = 0
        self.open: dict[tuple[str, str, int], Due] = {}
        self.durabilities: set[str] = set()
        self.acknowledged = 0
        self.refusals: list[int] = []

    async def close(self) -> None:
        """Drop the connections and close the books."""
        await self._session.close()
        for book in self._books:
            book.close()

    def due(self, decisions: Iterable[str], event: str = "default") -> list[Due]:
        """Give each decision a reward, drawn evenly, so that no two sums come out alike by chance."""
        return [Due(decision, event, self._rng.randint(0, STEPS)) for decision in decisions]

    async def volley(self, dues: Sequence[Due], per_call: int = 8) -> None:
        """Send all at once: half of the calls carry one reward, the others up to `per_call`."""
        singles = len(dues) // (1 + per_call)
        calls: list[Sequence[Due]] = [(due,) for due in dues[:singles]]
        calls += [dues[start : start + per_call] for start in range(singles, len(dues), per_call)]
        if len(calls) > len(self._idle):
            raise ValueError(f"{len(calls)} calls at once take as many clients, there are {len(self._idle)}")
        async with asyncio.TaskGroup() as tasks:
            for call in calls:
                tasks.create_task(self._as_client(call))

    async def run(self, stock: deque[str], until: asyncio.Event, clients: int = 8) -> None:
        """Bring a reward for each decision that comes, by so many clients, until told to end."""

        async def one() -> None:
            while not until.is_set():
                if stock:
                    await self._as_client(self.due([stock.popleft()]))
                else:
                    await asyncio.sleep(_AGAIN_S)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(clients):
                tasks.create_task(one())

    async def settle(self, limit_s: float) -> None:
        """Send what stayed open until all of it is answered for good; TimeoutError after `limit_s`."""
        async with asyncio.timeout(limit_s):
            while self.open:
                await self._as_client(tuple(self.open.values())[:500])
                if self.open:
                    await asyncio.sleep(_AGAIN_S)

    async def _as_client(self, dues: Sequence[Due]) -> None:
        client = self._idle.pop()
        try:
            await self._send(self._books[client], dues)
        finally:
            self._idle.append(client)

    async def _send(self, book: Book, dues: Sequence[Due]) -> None:
        body = b"\n".join(msgspec.json.encode(_Claim(due.decision, due.steps / STEPS, due.event)) for due in dues)
        path = "/v1/rewards" if len(dues) == 1 else "/v1/rewards:batch"
        # Filled in when the last byte has been handed to the system.
        sent = SimpleNamespace(rewards=len(dues), is_sent=False)
        answers: Sequence[_Answer] = []
        try:
            text, status = await self._post(path, body, sent)
            answers = _read(text, status, len(dues))
        except (aiohttp.ClientError, TimeoutError, OSError):
            answers = []
        finally:
            if sent.is_sent:
                self.in_flight -= len(dues)
            self._note(book, dues, answers)

    async def _post(self, path: str, body: bytes, sent: SimpleNamespace) -> tuple[bytes, int]:
        """Send to the next gateway; where nobody listens nothing was sent, and the one after it is asked."""
        self._turn = (self._turn + 1) % len(self._urls)
        *others, last = (*self._urls[self._turn :], *self._urls[: self._turn])
        for url in others:
            with contextlib.suppress(aiohttp.ClientConnectorError):
                async with self._session.post(url + path, data=body, trace_request_ctx=sent) as response:
                    return await response.read(), response.status
        async with self._session.post(last + path, data=body, trace_request_ctx=sent) as response:
            return await response.read(), response.status

    async def _sent(
        self, session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestChunkSentParams
    ) -> None:
        sent = context.trace_request_ctx
        if sent is not None and not sent.is_sent:
            sent.is_sent = True
            self.in_flight += sent.rewards

    def _note(self, book: Book, dues: Sequence[Due], answers: Sequence[_Answer]) -> None:
        statuses: list[int | None] = [answer.status for answer in answers] or [None] * len(dues)
        lines = [
            Line(due.decision, due.event, due.steps, outcome_of(status), status)
            for due, status in zip(dues, statuses, strict=True)
        ]
        book.write(lines)
        self.durabilities |= {answer.durability for answer in answers if answer.durability}
        for due, line in zip(dues, lines, strict=True):
            if line.outcome == "open":
                self.open[line.what] = due
                continue
            self.open.pop(line.what, None)
            self.acknowledged += line.outcome == "acknowledged"
            if line.outcome == "refused" and line.status is not None:
                self.refusals.append(line.status)


def _read(text: bytes, status: int, count: int) -> list[_Answer]:
    """Read an answer to each reward; none where the body tells of none."""
    if count == 1:
        found = msgspec.json.decode(text, type=dict)
        return [_Answer(status, str(found.get("durability", "")))]
    if status != 200:
        return [_Answer(status)] * count
    return msgspec.json.Decoder(_Answer).decode_lines(text)
