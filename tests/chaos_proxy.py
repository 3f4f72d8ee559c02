"""A TCP proxy that misbehaves as it is told: it delays answers, or cuts them in the middle."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class ChaosProxy:
    """Mutable: how answers are treated from now on. `cut`: with this probability the connection ends within one."""

    target_port: int
    rng: random.Random
    delays_s: tuple[float, float] = (0.0, 0.0)
    cut: float = 0.0
    garbage: float = 0.0
    port: int = 0
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection to its end."""
        self._open.add(writer)
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
            self._open.add(to_writer)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._copy(reader, to_writer))
                    tasks.create_task(self._answer(to_reader, writer))
            finally:
                await self._end(to_writer)
        except OSError:
            return
        finally:
            await self._end(writer)

    async def _end(self, writer: asyncio.StreamWriter) -> None:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        self._open.discard(writer)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                await asyncio.sleep(self.rng.uniform(*self.delays_s))
                if self.rng.random() < self.cut:
                    writer.write(piece[: len(piece) // 2])
                    break
                if self.rng.random() < self.garbage:
                    writer.write(b"!?\x00garbage\r\n")
                    break
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def close(self) -> None:
        """End all connections, and wait for that."""
        while self._open:
            for one in self._open:
                one.close()
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def chaos_proxy(target_port: int, seed: int) -> AsyncIterator[ChaosProxy]:
    """Run a proxy on a free port; it does no harm until it is told to."""
    proxy = ChaosProxy(target_port, random.Random(seed))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()
