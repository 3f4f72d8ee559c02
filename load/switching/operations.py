"""Everything that is done to an experiment of v1, v2 and v3 while requests come: deploy, retire, restore, promote, roll back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp

from load.demo.plan import EXPERIMENT, MODEL
from load.demo.state import State
from load.switching.windows import Out, Window
from turpin.async_client import AsyncClient

# A machine that has other work to do loads a model in ten seconds.
_PATIENCE_S: Final = 120.0
_LOOK_S: Final = 0.05
# After each operation, so that its last requests are its own.
_SETTLE_S: Final = 1.0
_OUT: Final = ("standby", "retired")


class NotSeen(Exception):
    """Something that was ordered was not seen to happen."""


class Operations:
    """Mutable: the windows so far, and which arms are out."""

    def __init__(
        self,
        *,
        client: AsyncClient,
        look: Callable[[], Awaitable[State | None]],
        session: aiohttp.ClientSession,
        admin_url: str,
        token: str,
        now: Callable[[], float],
    ) -> None:
        """`look` returns the experiment's state, None while the gateway gives none."""
        self._client, self._look, self._session, self._now = client, look, session, now
        self._url = f"{admin_url}/admin/v1/experiments/{EXPERIMENT}"
        self._headers = {"Authorization": f"Bearer {token}"}
        self.windows: list[Window] = []
        self.outs: list[Out] = []

    async def steady(self, seconds: float) -> None:
        """Do nothing, to compare with."""
        async with self._window("nothing"):
            await asyncio.sleep(seconds)

    async def deploy(self, package: Path, arm: str) -> None:
        """Make a SavedModel a new arm, until it has its share of the traffic."""
        async with self._window("deploy"):
            await self._client.deploy(MODEL, package, as_=arm)
            await self.until(f"{arm} is eligible", lambda state: _state(state, arm) == "eligible")

    async def retire(self, arm: str) -> None:
        """Take an arm out and unload it."""
        async with self._window("retire"):
            await self.order(f"/arms/{arm}:retire")
            await self._drained(arm)
            await self.until(f"{arm} is retired", lambda state: _state(state, arm) == "retired")

    async def restore(self, arm: str) -> None:
        """Load an arm again and give it traffic."""
        async with self._window("restore"):
            self._back(arm)
            await self.order(f"/arms/{arm}:restore")
            await self.until(f"{arm} is eligible", lambda state: _state(state, arm) == "eligible")

    async def promote(self, arm: str) -> None:
        """Make an arm the winner, and unload all others."""
        async with self._window("promote"):
            await self.order(":promote", arm=arm)
            await self._concluded(arm)

    async def roll_back(self, to: str) -> None:
        """Return to control, which is not loaded any more, and unload the winner."""
        async with self._window("rollback"):
            self._back(to)
            await self._client.rollback(EXPERIMENT)
            await self._concluded(to)

    async def order(self, path: str, **body: str) -> None:
        """Give an order through the admin API."""
        async with self._session.post(f"{self._url}{path}", json=body, headers=self._headers) as answer:
            if answer.status != 200:
                raise NotSeen(f"{path} was answered {answer.status}: {await answer.text()}")

    async def until(self, what: str, is_so: Callable[[State], bool]) -> State:
        """Wait until the state is so, and return it."""
        give_up_at, state = self._now() + _PATIENCE_S, None
        while self._now() < give_up_at:
            state = await self._look()
            if state is not None and is_so(state):
                return state
            await asyncio.sleep(_LOOK_S)
        raise NotSeen(f"not within {_PATIENCE_S:g} s: {what}; the state is {state}")

    async def _concluded(self, winner: str) -> None:
        """Wait until one arm serves and all others are unloaded."""
        state = await self.until("a winner", lambda state: state.winner == winner)
        for arm in state.arms:
            if arm.name != winner and not any(out.arm == arm.name and out.ended > self._now() for out in self.outs):
                await self._drained(arm.name)
        await self.until(
            "all others are retired",
            lambda state: state.phase == "concluded" and len(state.retired) == len(state.arms) - 1,
        )

    async def _drained(self, arm: str) -> None:
        await self.until(f"{arm} is drained", lambda state: _state(state, arm) in _OUT)
        self.outs.append(Out(arm, self._now()))

    def _back(self, arm: str) -> None:
        """From now on it may get requests again."""
        self.outs = [
            Out(out.arm, out.began, self._now()) if out.arm == arm and out.ended > self._now() else out
            for out in self.outs
        ]

    @asynccontextmanager
    async def _window(self, name: str) -> AsyncIterator[None]:
        began = self._now()
        yield
        await asyncio.sleep(_SETTLE_S)
        self.windows.append(Window(name, began, self._now()))


def _state(state: State, arm: str) -> str:
    found = state.arm(arm)
    return "" if found is None else found.state
