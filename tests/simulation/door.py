"""One process's way to the shared store: slow, shut, or open for the call and not for its answer, as the weather says.

The store itself never fails: each of its calls is one step. All that can go wrong happens on the way there and back.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from router.store import StoreUnavailable
from router.store.memory import MemoryStore

# What callers wait for an answer, at most; as Redis by default.
_TIMEOUT_S: Final = 0.2
# On a good day.
_USUAL_S: Final = (0.0002, 0.002)
# A call that was given up may still be done, so much later.
_LATE_S: Final = (0.2, 2.0)
# Around the time of a lease, 3 s.
_PAUSE_S: Final = (1.0, 5.0)
# What may befall one call.
AMBUSHES: Final = ("lost", "late", "unanswered", "pause", "kill")


@dataclass(slots=True)
class Weather:
    """How the store is to be reached by everybody. Mutable: all of it."""

    is_away: bool = False
    # Shares of calls that are not done; that are done and not answered; that are done much later, and not answered.
    lost: float = 0.0
    unanswered: float = 0.0
    late: float = 0.0
    slow_s: float = 0.0
    # What befalls the next call of this name, whoever makes it.
    ambushes: dict[str, str] = field(default_factory=dict)

    def clear(self) -> None:
        """Let all be well."""
        self.is_away, self.lost, self.unanswered, self.late, self.slow_s = False, 0.0, 0.0, 0.0, 0.0


# Told of each call that the store has done: who asked, which, with what, and what it answered.
Watch = Callable[["Door", str, tuple[Any, ...], Any], None]


@dataclass(slots=True, eq=False)
class Door:
    """Stands for a Store in one process. Mutable: whether that is paused or dead, and what does not get through."""

    name: str
    store: MemoryStore
    weather: Weather
    rng: random.Random
    watch: Watch
    tasks: asyncio.TaskGroup
    kill: Callable[[], None]
    is_dead: bool = False
    # Calls that don't get through from here, though others' do: all, or those of some part of the store.
    cut: frozenset[str] = frozenset()
    awake: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.awake.set()

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any) -> Any:
            return await self._call(name, args)

        return call

    async def _call(self, name: str, args: tuple[Any, ...]) -> Any:
        ambush = self.weather.ambushes.pop(name, "")
        if ambush == "pause":
            self.pause(self.rng.uniform(*_PAUSE_S))
        # A process that is paused asks when it wakes, with what it knew before.
        await self.awake.wait()
        await asyncio.sleep(self.rng.uniform(*_USUAL_S) + self.weather.slow_s * self.rng.random())
        kind = ambush or self._kind()
        if self.is_dead or self.weather.is_away or name in self.cut or kind == "lost":
            await self._given_up()
        if kind == "late":
            self.tasks.create_task(self._later(name, args))
            await self._given_up()
        found = await self._done(name, args)
        if kind == "unanswered":
            await self._given_up()
        if kind == "kill":
            self.kill()
        await asyncio.sleep(self.rng.uniform(*_USUAL_S))
        await self.awake.wait()
        if self.is_dead:
            await self._given_up()
        return found

    def pause(self, seconds: float) -> None:
        """Stop the process for so long, as far as others can tell."""
        self.awake.clear()
        asyncio.get_running_loop().call_later(seconds, self.awake.set)

    def _kind(self) -> str:
        """Draw what befalls a call."""
        weather, drawn = self.weather, self.rng.random()
        for kind, share in (("lost", weather.lost), ("late", weather.late), ("unanswered", weather.unanswered)):
            if drawn < share:
                return kind
            drawn -= share
        return ""

    async def _done(self, name: str, args: tuple[Any, ...]) -> Any:
        found = await getattr(self.store, name)(*args)
        self.watch(self, name, args, found)
        return found

    async def _later(self, name: str, args: tuple[Any, ...]) -> None:
        await asyncio.sleep(self.rng.uniform(*_LATE_S))
        try:
            await self._done(name, args)
        except Exception:  # noqa: BLE001 nobody is there any more to be told
            return

    async def _given_up(self) -> None:
        if not self.is_dead:
            await asyncio.sleep(_TIMEOUT_S)
        raise StoreUnavailable("no answer")
