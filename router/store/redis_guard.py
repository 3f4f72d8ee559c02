"""Asks on a new connection, before rewards and counts go over it, whether behind it is the store that is known.

A client of Redis connects anew by itself, also where its last connection was closed while nobody used it, and then no
call has failed. Behind the same address an older store may be by then, of the same generation. A connection can't
change its server, so asked once, before anything is counted over it, it is safe for as long as it lasts.

Beats go over other connections: they are to see what is wrong, and to go on with it or to refuse it.
"""

from typing import Final

from redis.asyncio import Connection

from router.store.redis_client import OtherStore
from router.store.redis_documents import STORE_KEY
from router.store.redis_lineage import Lineage

_ASKED: Final = ("generation", "beats", "losses")


class Guard:
    """Holds new connections against the lineage."""

    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage

    async def greet(self, connection: Connection) -> None:
        """Log in, and raise OtherStore unless the store behind it has the known generation and losses, and no fewer beats."""
        await connection.on_connect()
        # Before it is asked: what is seen while the answer is under way may be newer than the answer.
        generation, last = self._lineage.generation, self._lineage.last
        await connection.send_command("HMGET", STORE_KEY, *_ASKED)
        found, beats, losses = ((part or b"").decode() for part in await connection.read_response())
        if found != generation or int(beats or "0") < last.beats or int(losses or "0") != last.losses:
            raise OtherStore(
                f"it is {found or 'empty'} with {beats or 0} beats and {losses or 0} losses, "
                f"{generation} with {last.beats} and {last.losses} was known"
            )
