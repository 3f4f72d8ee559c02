"""Bypass that needs no store: this gateway's workers are told at once, and the store when it can be reached."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from bandits.operation import Bypass
from router.admin.answers import Refused
from router.admin.desk import Asked, Desk, Done
from router.link import Override
from router.store import StoreError

log = structlog.get_logger(__name__)

# How often the store is tried for what it has not heard of yet.
_TRY_S: Final = 1.0

Tell = Callable[[Override], Awaitable[None]]


class Bypasses:
    """Mutable: the bypasses that the store has not heard of."""

    def __init__(self, *, desk: Desk, tell: Tell) -> None:
        """`tell` reaches all workers of this gateway."""
        self._desk = desk
        self._tell = tell
        self._waiting: dict[str, Asked] = {}
        # So that what is being told to the store can't end up there after it was cancelled here.
        self._telling = asyncio.Lock()

    async def begin(self, name: str, wanted: Asked) -> Done | None:
        """Bypass an experiment here at once, then everywhere; None while the store is away. Refused if it can't be."""
        await self._tell(Override(name, is_on=True))
        try:
            async with self._telling:
                done = await self._everywhere(name, wanted)
        except StoreError as error:
            log.warning("bypassed on this gateway alone: the store is away", experiment=name, reason=str(error))
            self._waiting[name] = wanted
            return None
        except Refused:
            await self._tell(Override(name, is_on=False))
            raise
        self._waiting.pop(name, None)
        return done

    async def cancel(self, name: str) -> bool:
        """End a bypass that only this gateway knows of; say whether there was one."""
        async with self._telling:
            if self._waiting.pop(name, None) is None:
                return False
            await self._tell(Override(name, is_on=False))
            return True

    async def run(self) -> None:
        """Tell the store what it has not heard of, for ever."""
        while True:
            await asyncio.sleep(_TRY_S)
            for name in list(self._waiting):
                async with self._telling:
                    await self._try_again(name)

    async def _try_again(self, name: str) -> None:
        wanted = self._waiting.get(name)
        if wanted is None:
            return
        try:
            await self._everywhere(name, wanted)
            log.info("bypassed on all gateways: the store is back", experiment=name)
        except StoreError:
            return
        except Refused as refused:
            log.warning("bypass ended: the experiment does not allow it", experiment=name, reason=refused.detail)
            await self._tell(Override(name, is_on=False))
        if self._waiting.get(name) is wanted:
            del self._waiting[name]

    async def _everywhere(self, name: str, wanted: Asked) -> Done:
        done = await self._desk.order(name, lambda _, now: Bypass(now, wanted.signed), wanted)
        # From this revision on the snapshots say it themselves.
        await self._tell(Override(name, is_on=True, revision=done.revision))
        return done
