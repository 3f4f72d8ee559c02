"""What is held on a new connection over which rewards and counts go: is it the store that is known?

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

_ASKED: Final = ("generation", "beats")


class Guard:
    """Holds new connections against the lineage."""

    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage

    async def greet(self, connection: Connection) -> None:
        """Log in, and raise OtherStore unless the store behind it has the known generation and no fewer beats."""
        await connection.on_connect()
        # Before it is asked: what is seen while the answer is under way may be newer than the answer.
        generation, beats = self._lineage.generation, self._lineage.last.beats
        await connection.send_command("HMGET", STORE_KEY, *_ASKED)
        found = [(part or b"").decode() for part in await connection.read_response()]
        if found[0] != generation or int(found[1] or "0") < beats:
            raise OtherStore(f"it is {found[0] or 'empty'} with {found[1]} beats, {generation} with {beats} was known")
