"""A TCP proxy between two processes that does to each direction what a fault says, until it is told otherwise."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from load.chaos.faults import Close, Fault, Pause, Reset, Send, Through

_PIECE_BYTES: Final = 65_536
# Loopback connects at once or not at all.
_CONNECT_S: Final = 2.0
# Linger on, for 0 s: what closes such a socket sends RST.
_RESET: Final = struct.pack("ii", 1, 0)


@dataclass(eq=False, slots=True)
class _Pair:
    """The two ends of one connection."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter

    def end(self, *, is_reset: bool) -> None:
        for writer in (self.client, self.server):
            if is_reset:
                # A socket that its peer has reset already takes no options, and uvloop's has none any more.
                with contextlib.suppress(OSError):
                    sock = writer.get_extra_info("socket")
                    if sock is not None:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                writer.transport.abort()
            else:
                writer.close()


@dataclass(slots=True)
class Proxy:
    """Mutable: the fault of each direction, which holds for the next piece on every connection; what is open."""

    target_port: int
    port: int = 0
    to_server: Fault = field(default_factory=Through)
    to_client: Fault = field(default_factory=Through)
    connections: int = 0
    # From which the server has seen us so far.
    local_ports: set[int] = field(default_factory=set)
    _open: set[_Pair] = field(default_factory=set)

    def heal(self) -> None:
        """Do no more harm."""
        self.to_server = self.to_client = Through()

    def drop(self, *, is_reset: bool = True) -> None:
        """End all connections that are open."""
        for pair in list(self._open):
            pair.end(is_reset=is_reset)

    @property
    def open(self) -> int:
        """How many connections there are now."""
        return len(self._open)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection to its end."""
        try:
            async with asyncio.timeout(_CONNECT_S):
                from_server, to_server = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.close()
            return
        pair = _Pair(writer, to_server)
        self._open.add(pair)
        self.connections += 1
        self.local_ports.add(int(to_server.get_extra_info("sockname")[1]))
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._carry(reader, to_server, pair, is_up=True))
                tasks.create_task(self._carry(from_server, writer, pair, is_up=False))
        finally:
            pair.end(is_reset=False)
            self._open.discard(pair)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: _Pair, *, is_up: bool
    ) -> None:
        passed = 0
        # uvloop says RuntimeError of a connection that was closed meanwhile.
        with contextlib.suppress(OSError, RuntimeError):
            while piece := await reader.read(_PIECE_BYTES):
                fault = self.to_server if is_up else self.to_client
                for step in fault.steps(piece, passed):
                    match step:
                        case Send(piece=sent):
                            writer.write(sent)
                            await writer.drain()
                        case Pause(pause_s=pause_s):
                            await asyncio.sleep(pause_s)
                        case Close() | Reset():
                            pair.end(is_reset=isinstance(step, Reset))
                            return
                passed += len(piece)
        pair.end(is_reset=False)


@contextlib.asynccontextmanager
async def proxy_to(target_port: int) -> AsyncIterator[Proxy]:
    """Run a proxy on a free port of loopback; it does no harm until it is told to."""
    proxy = Proxy(target_port)
    carrying: set[asyncio.Task[None]] = set()
    async with asyncio.TaskGroup() as tasks:

        def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = tasks.create_task(proxy.serve(reader, writer), name="proxied connection")
            carrying.add(task)
            task.add_done_callback(carrying.discard)

        server = await asyncio.start_server(take, "127.0.0.1", 0)
        proxy.port = int(server.sockets[0].getsockname()[1])
        try:
            yield proxy
        finally:
            server.close()
            proxy.drop()
            # One may be in the middle of a pause.
            for task in list(carrying):
                task.cancel()
    await server.wait_closed()
