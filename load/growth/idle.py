"""Connections that are open and send nothing: HTTP/2 with its first frame, as a client's pool keeps them."""

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator
from typing import Final

# The client's preface and an empty SETTINGS frame (RFC 9113, section 3.4).
_HELLO: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
# So many connect at once: a listening socket's backlog holds them.
_AT_ONCE: Final = 50
_CONNECT_S: Final = 30.0
# Other files of this process.
_SPARE: Final = 200


@contextlib.asynccontextmanager
async def idle(address: str, count: int) -> AsyncIterator[None]:
    """Keep so many connections open. RuntimeError if this process may not have so many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if count + _SPARE > hard:
        raise RuntimeError(f"{count} connections take {count + _SPARE} open files, and {hard} are allowed (ulimit -Hn)")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + _SPARE), hard))
    host, _, port = address.rpartition(":")
    writers: list[asyncio.StreamWriter] = []

    async def one() -> None:
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(_HELLO)
        await writer.drain()
        writers.append(writer)

    try:
        async with asyncio.timeout(_CONNECT_S):
            for start in range(0, count, _AT_ONCE):
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(min(_AT_ONCE, count - start)):
                        tasks.create_task(one())
        yield
    finally:
        for writer in writers:
            writer.close()
