"""Where a story is played: its servers and gateway, the traffic's books, what is told, and what was shown to hold."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from rich.console import Console
from rich.markup import escape

from load.demo.books import Books
from load.demo.plan import Folder
from load.demo.state import ArmState, Gateway, State
from load.scenarios.diary import Diary
from load.scenarios.servers import Server
from turpin.async_client import AsyncClient

# Between two looks at something that is about to happen.
LOOK_S = 0.2
# The client's own view of where answers come from, over whole seconds.
_SHARE_S = 2
# What a step may take on a machine that has other work to do; on a quiet one none takes a third of it.
PATIENCE_S = 60.0


class Stuck(Exception):
    """Something a story waits for did not happen."""


class Stage:
    """One telling. Mutable: the newest state, what was checked, and the first and last answers of each arm."""

    def __init__(
        self,
        *,
        console: Console,
        folder: Folder,
        gateway: Gateway,
        client: AsyncClient,
        servers: Mapping[str, Server],
        books: Books,
        diary: Diary,
        checks: Sequence[str],
    ) -> None:
        """`checks` are the names of all that must hold; each is False until `check` says otherwise."""
        self.folder = folder
        self.client = client
        self.servers = servers
        self.books = books
        self.diary = diary
        self.checks = dict.fromkeys(checks, False)
        self.told: list[str] = []
        self.state: State | None = None
        self._console = console
        self._gateway = gateway
        self._status = console.status("")

    def tell(self, sentence: str) -> None:
        """Say what happens, with the time since the first request."""
        self.told.append(f"{self.books.elapsed_s():.1f} s: {sentence}")
        self._console.print(f"  {self.books.elapsed_s():5.1f} s  {escape(sentence)}", highlight=False, soft_wrap=True)

    def check(self, name: str, *, holds: bool, words: str) -> None:
        """Record whether something holds, and say so."""
        assert name in self.checks, name  # noqa: S101 a story lists its checks
        self.checks[name] = holds
        mark = "[green]✓[/green]" if holds else "[red]✗[/red]"
        self._console.print(f"           {mark} {escape(words)}", highlight=False, soft_wrap=True)

    async def until(self, what: str, look: Callable[[], Awaitable[bool]], limit_s: float = PATIENCE_S) -> float:
        """Wait until `look()` holds, and return the seconds that took; raises Stuck after `limit_s`."""
        began = time.monotonic()
        while not await look():
            if time.monotonic() - began > limit_s:
                raise Stuck(f"not within {limit_s:.0f} s: {what}{self._where()}")
            await asyncio.sleep(LOOK_S)
        return time.monotonic() - began

    def _where(self) -> str:
        if self.state is None:
            return ""
        arms = ", ".join(f"{arm.name} {arm.state} ({arm.reason})" for arm in self.state.arms)
        return f"; the experiment is {self.state.phase}: {arms}"

    async def until_state(self, what: str, is_so: Callable[[State], bool], limit_s: float = PATIENCE_S) -> float:
        """Wait until the gateway's state is so."""

        async def look() -> bool:
            state = await self.look()
            return state is not None and is_so(state)

        return await self.until(what, look, limit_s)

    async def until_gone(self, arm: str, limit_s: float = PATIENCE_S) -> None:
        """Wait until no answer has come from an arm for two whole seconds, by the client's own books."""

        async def look() -> bool:
            return self.share(arm) == 0.0

        began = self.books.elapsed_s()
        await self.until(
            f"{_SHARE_S} s without an answer of {arm}", lambda: _both(look, self.books, began + _SHARE_S + 1), limit_s
        )

    async def look(self) -> State | None:
        """Read the state; the newest one is kept where the gateway does not answer."""
        self.state = await self._gateway.state() or self.state
        return self.state

    def arm(self, name: str) -> ArmState:
        """Return an arm of the newest state."""
        found = None if self.state is None else self.state.arm(name)
        if found is None:
            raise Stuck(f"the gateway shows no arm {name}")
        return found

    def share(self, arm: str) -> float:
        """Return the part of the answers of the last whole seconds that an arm gave; 0 before the first."""
        now = int(self.books.elapsed_s())
        counts = [self.books.seconds[second] for second in range(now - _SHARE_S, now) if second in self.books.seconds]
        total = sum(count.total() for count in counts)
        return sum(count[arm] for count in counts) / total if total else 0.0

    async def until_share(self, arm: str, at_least: float, limit_s: float = PATIENCE_S) -> float:
        """Wait until an arm gives so large a part of the answers, by the client's own books."""

        async def look() -> bool:
            return self.share(arm) >= at_least

        return await self.until(f"{at_least:.0%} of the answers from {arm}", look, limit_s)

    async def show(self) -> None:
        """Keep a line of shares up to date on a terminal, until cancelled."""
        if not self._console.is_terminal:
            await asyncio.Event().wait()
        with self._status as status:
            while True:
                shares = ", ".join(f"{arm} {self.share(arm):.0%}" for arm in self.books.arms)
                counts = f"{self.books.requests:,} requests, {self.books.failed_total} failed"
                status.update(escape(f"{self.books.elapsed_s():.0f} s  {shares}  {counts}"))
                await asyncio.sleep(LOOK_S)


async def _both(look: Callable[[], Awaitable[bool]], books: Books, after_s: float) -> bool:
    return books.elapsed_s() >= after_s and await look()
