"""Pushes new rewards into a store as fast as it acknowledges them."""

import asyncio
import contextlib
import itertools
import shutil
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import msgspec

from router.clock import unix_now
from router.store import Cell, Reward, RewardResult, Store, StoreError, StoreUnopenable, open_store

# How long a reward is remembered; its length changes nothing here.
_KEPT_S: Final = 3600
# Arms that the rewards of one batch are spread over.
_ARMS: Final = 3
_START_S: Final = 10.0
_POLL_S: Final = 0.02
# Enough that the hash of a time bucket is large and what else a server keeps does not show.
_REMEMBERED: Final = 50_000
_BATCH: Final = 1000


class Rate(msgspec.Struct, frozen=True):
    """How many rewards were acknowledged per second, in batches of so many, by so many callers at once."""

    batch: int
    callers: int
    rewards: int
    per_s: float
    # Processor time of the caller's process, which a busy machine changes less than the rate.
    cpu_us: float


def rewards_from(numbers: Iterator[int], count: int, now: float) -> list[Reward]:
    """Return rewards that no store has met; nonces are scattered as real ones are."""
    hour = int(now // _KEPT_S)
    return [
        Reward(
            Cell(epoch=1, arm=number % _ARMS, block=hour),
            (number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128).to_bytes(16),
            "default",
            1.0,
            {"rewards": 1, "reward_q": 1},
            int(now) + _KEPT_S,
        )
        for number in itertools.islice(numbers, count)
    ]


async def push(store: Store, batch: int, callers: int, seconds: float) -> Rate:
    """Send batch after batch; count those alone whose answer came. ValueError when one was taken for a duplicate."""
    numbers = itertools.count(1)
    acknowledged = 0
    began, cpu_began_ns = time.monotonic(), time.process_time_ns()

    async def send() -> None:
        nonlocal acknowledged
        while time.monotonic() < began + seconds:
            results = await store.add_rewards(rewards_from(numbers, batch, unix_now()))
            if results.count(RewardResult.RECORDED) != batch:
                raise ValueError(f"the store recorded {results.count(RewardResult.RECORDED)} of {batch} new rewards")
            acknowledged += batch

    async with asyncio.TaskGroup() as tasks:
        for _ in range(callers):
            tasks.create_task(send())
    cpu_us = (time.process_time_ns() - cpu_began_ns) / 1e3 / acknowledged
    return Rate(batch, callers, acknowledged, acknowledged / (time.monotonic() - began), cpu_us)


async def sqlite_rate(folder: Path, batch: int, callers: int, seconds: float) -> Rate:
    """Measure a new file."""
    store = open_store(f"sqlite://{folder}/{batch}-{callers}.db")
    await store.open()
    try:
        return await push(store, batch, callers, seconds)
    finally:
        await store.close()


async def redis_rate(folder: Path, fsync: str, batch: int, callers: int, seconds: float) -> Rate:
    """Measure a new server that writes a log."""
    async with _redis(folder / f"{fsync}-{batch}-{callers}", fsync) as (store, _):
        return await push(store, batch, callers, seconds)


async def bytes_per_reward(folder: Path) -> float:
    """Return what a remembered reward takes of a server's memory, its share of the sums included."""
    async with _redis(folder / "bytes", "everysec") as (store, port):
        numbers = itertools.count(1)
        await store.add_rewards(rewards_from(numbers, _BATCH, unix_now()))
        before = await _used_bytes(port)
        for _ in range(_REMEMBERED // _BATCH):
            await store.add_rewards(rewards_from(numbers, _BATCH, unix_now()))
        return (await _used_bytes(port) - before) / _REMEMBERED


async def _used_bytes(port: int) -> int:
    return int((await info(port))["used_memory_dataset"])


async def info(port: int) -> dict[str, str]:
    """Return all that a server says of itself."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(_START_S):
            writer.write(b"INFO\r\n")
            length = int((await reader.readline())[1:])
            text = (await reader.readexactly(length)).decode()
    finally:
        writer.close()
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


@contextlib.asynccontextmanager
async def _redis(folder: Path, fsync: str) -> AsyncIterator[tuple[Store, int]]:
    """Run a server with a log; yield it as a store, and its port. StoreUnopenable when there is no redis-server."""
    program = shutil.which("redis-server")
    if program is None:
        raise StoreUnopenable("redis-server is not installed: Debian: apt-get install redis-server")
    await asyncio.to_thread(folder.mkdir)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    settings = f"--port {port} --bind 127.0.0.1 --save '' --appendonly yes --appendfsync {fsync} --loglevel warning"
    server = await asyncio.create_subprocess_exec(
        program,
        "--dir",
        str(folder),
        *(part.strip("'") for part in settings.split()),
        stdout=asyncio.subprocess.DEVNULL,
    )
    store = open_store(f"redis://127.0.0.1:{port}?timeout_ms=5000")
    try:
        await _opened(store)
        yield store, port
    finally:
        await store.close()
        server.terminate()
        await server.wait()


async def _opened(store: Store) -> None:
    """Wait until the server answers."""
    async with asyncio.timeout(_START_S):
        while True:
            try:
                return await store.open()
            except StoreError:
                await asyncio.sleep(_POLL_S)
