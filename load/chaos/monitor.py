"""What a Redis did, by its own MONITOR: which snapshots were published under which fence, and by whom."""

import asyncio
import contextlib
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Final

from router.store.redis_documents import SNAPSHOTS_KEY
from router.store.redis_scripts import PUBLISH

# A snapshot is some kilobytes, on one line.
_LINE_BYTES_MAX: Final = 16 * 2**20
_HEAD: Final = re.compile(r"^\+\d+\.\d+ \[\d+ (lua|[\d.]+:(\d+))\] ")
_WORD: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
# EVALSHA, digest, number of keys, three keys, generation, fence.
_FENCE_AT: Final = 7


@dataclass(frozen=True, slots=True)
class Published:
    """A call to publish a snapshot: from which port, under which fence, and whether the fence let it through.

    Behind the fence the script looks at the version that is there. That would refuse most late writes by itself, and hide
    a fence that lets all through.
    """

    port: int
    fence: int
    is_let_through: bool


def published(lines: Iterable[str]) -> list[Published]:
    """Read MONITOR's lines. What a script does stands right behind its call, for Redis does one thing at a time."""
    found: list[Published] = []
    is_inside = False
    for line in lines:
        head = _HEAD.match(line)
        if head is None:
            continue
        if head[1] == "lua":
            if is_inside and f'"HGET" "{SNAPSHOTS_KEY}"' in line:
                last = found[-1]
                found[-1] = Published(last.port, last.fence, True)
            continue
        words = [match[1] for match, _ in zip(_WORD.finditer(line), range(_FENCE_AT + 1), strict=False)]
        is_inside = len(words) > _FENCE_AT and words[0].upper() == "EVALSHA" and words[1] == PUBLISH.sha
        if is_inside:
            found.append(Published(int(head[2]), int(words[_FENCE_AT]), False))
    return found


def writers(calls: Iterable[Published], ports: dict[str, set[int]]) -> dict[int, set[str]]:
    """Say who was let through under each fence; `ports`: from which ports each gateway's connections come."""
    found: dict[int, set[str]] = defaultdict(set)
    for call in calls:
        if call.is_let_through:
            found[call.fence].add(next((name for name, own in ports.items() if call.port in own), "nobody known"))
    return dict(found)


@contextlib.asynccontextmanager
async def monitored(port: int) -> AsyncIterator[list[str]]:
    """Listen to what a Redis does; yield the lines, which grow."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_LINE_BYTES_MAX)
    lines: list[str] = []

    async def listen() -> None:
        while line := await reader.readline():
            # Only what is asked for here: rewards and reads are thousands.
            text = line.decode(errors="replace")
            if " lua] " in text or "EVALSHA" in text:
                lines.append(text)

    try:
        writer.write(b"MONITOR\r\n")
        await writer.drain()
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(listen(), name="monitor")
            yield lines
            listening.cancel()
    finally:
        writer.close()
