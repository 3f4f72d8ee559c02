"""HTTP connections that end at an age, so that workers and gateways that came later get their share of them."""

import asyncio
import random
from typing import Final

from aiohttp import web

from router.fronts.bodies import Handler

# Of the age, sooner or later: connections that were made together do not end together. gRPC does the same.
_JITTER: Final = 0.1
# Connections that have gone are forgotten when there are twice as many as are known to be open, and this many more.
_SPARE: Final = 64


class Ages:
    """When the connections that have sent something are to end. Mutable: that time of each."""

    def __init__(self, age_s: float) -> None:
        self._age_s = age_s
        self._ends: dict[asyncio.BaseProtocol, float] = {}
        self._forget_at = _SPARE

    def is_over(self, connection: asyncio.BaseProtocol, now: float) -> bool:
        """Say whether a connection has its age; it begins with its first request. `now` is loop time."""
        end = self._ends.get(connection)
        if end is None:
            if len(self._ends) >= self._forget_at:
                # aiohttp's protocols have no transport any more when their connection is gone.
                self._ends = {one: at for one, at in self._ends.items() if getattr(one, "transport", None) is not None}
                self._forget_at = 2 * len(self._ends) + _SPARE
            share = 1.0 + random.uniform(-_JITTER, _JITTER)  # noqa: S311 no secret
            end = self._ends[connection] = now + share * self._age_s
        return now >= end


def ending_at(age_s: float, handler: Handler) -> Handler:
    """Have a handler's answers say `Connection: close` once their connection has its age: no call is lost by it."""
    ages = Ages(age_s)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = await handler(request)
        if ages.is_over(request.protocol, asyncio.get_running_loop().time()):
            response.force_close()
        return response

    return answer
