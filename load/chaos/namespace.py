"""A network namespace with one wire to ours, for a partition in which packets are lost and nobody is told. Wants root."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from load.chaos.case import Skipped

# Of the range that is set aside for benchmarks (RFC 2544): nobody's real network.
_OURS: Final = "198.18.77.1"
THEIRS: Final = "198.18.77.2"
_COMMAND_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Namespace:
    """Its name, and that of its end of the wire."""

    name: str
    wire: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """What a command begins with that is to run in it."""
        return ("ip", "netns", "exec", self.name)

    async def cut(self) -> None:
        """Lose all packets, both ways."""
        await _ip("-n", self.name, "link", "set", self.wire, "down")

    async def mend(self) -> None:
        """Undo it."""
        await _ip("-n", self.name, "link", "set", self.wire, "up")

    async def cut_answers(self) -> None:
        """Lose what is sent from inside; what is sent to it arrives."""
        await _ip("-n", self.name, "route", "add", "blackhole", f"{_OURS}/32")

    async def mend_answers(self) -> None:
        """Undo it."""
        await _ip("-n", self.name, "route", "del", "blackhole", f"{_OURS}/32")


@contextlib.asynccontextmanager
async def namespace() -> AsyncIterator[Namespace]:
    """Make a namespace, and take it away again; raises Skipped where that is not permitted."""
    if shutil.which("ip") is None:
        raise Skipped("there is no `ip` (Debian: apt-get install iproute2)")
    # Names of interfaces have 15 characters at most.
    number = os.getpid() % 100_000
    space, ours = Namespace(f"turpin-chaos-{number}", f"tp{number}in"), f"tp{number}out"
    try:
        await _ip("netns", "add", space.name)
    except OSError as error:
        raise Skipped(f"network namespaces are not permitted here: {error}") from None
    try:
        try:
            await _ip("link", "add", ours, "type", "veth", "peer", "name", space.wire, "netns", space.name)
            await _ip("addr", "add", f"{_OURS}/30", "dev", ours)
            await _ip("link", "set", ours, "up")
            await _ip("-n", space.name, "addr", "add", f"{THEIRS}/30", "dev", space.wire)
            await _ip("-n", space.name, "link", "set", space.wire, "up")
        except OSError as error:
            raise Skipped(f"a wire into a network namespace is not permitted here: {error}") from None
        yield space
    finally:
        # The wire goes with either end.
        with contextlib.suppress(OSError):
            await _ip("netns", "del", space.name)


async def _ip(*words: str) -> None:
    """Run `ip`; OSError with what it said."""
    process = await asyncio.create_subprocess_exec(
        "ip", *words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    async with asyncio.timeout(_COMMAND_S):
        said, _ = await process.communicate()
    if process.returncode:
        raise OSError(f"ip {' '.join(words)}: {said.decode(errors='replace').strip()}")
