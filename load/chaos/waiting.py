"""Waiting for what another process does: looked for again and again, with a limit, and named when it never comes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

_LOOK_S: Final = 0.02


class NotSeen(Exception):
    """Something did not happen within its time; the message says what."""


async def until(what: str, is_so: Callable[[], Awaitable[bool] | bool], limit_s: float) -> float:
    """Wait until `is_so()`, and return how many seconds that took; raises NotSeen after `limit_s`."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        found = is_so()
        if not isinstance(found, bool):
            found = await found
        if found:
            return loop.time() - began
        if loop.time() > began + limit_s:
            raise NotSeen(f"not within {limit_s:g} s: {what}")
        await asyncio.sleep(_LOOK_S)
