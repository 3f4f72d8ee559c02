"""Stores that can't keep what is promised, or are not ours to write to: a gateway says so and does not start. R4, R12, R13."""

import asyncio
import contextlib
import hashlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from load.chaos.case import Findings, Setting
from load.chaos.gateway import KEYS, Gateway, configuration
from load.chaos.redis_process import AOF, RedisProcess
from load.demo import processes
from router.store import open_store

# Starting takes a second or two; who has not given up by then goes on.
_ENDED_S: Final = 20.0
# Nobody is asked for predictions here.
_NOBODY: Final = ["127.0.0.1:1"]
_FAILED: Final = 1


async def unfit_stores(setting: Setting, findings: Findings) -> None:
    """Try five stores that must be refused, each in words that say why."""
    tried = refused = changed = 0
    for name, words, settings in (
        ("no-log", "has appendonly no: it must be yes", ("--save", "", "--appendonly", "no")),
        ("evicting", "has maxmemory-policy allkeys-lru", (*AOF, "--maxmemory-policy", "allkeys-lru")),
    ):
        setting.tell(name)
        async with _redis(setting.folder / name, settings) as url:
            tried, refused = tried + 1, refused + await _is_refused(setting, findings, name, url, words)
    for name, words, spoil in (
        ("newer-schema", "install the version that wrote it", _newer),
        ("another-program", "is the database of another program", _of_another),
        ("damaged", "damaged", _damaged),
    ):
        setting.tell(name)
        path = setting.folder / f"{name}.db"
        await _made(path)
        await asyncio.to_thread(spoil, path)
        before = await asyncio.to_thread(_digest, path)
        tried, refused = tried + 1, refused + await _is_refused(setting, findings, name, f"sqlite://{path}", words)
        changed += await asyncio.to_thread(_digest, path) != before
    findings.figures |= {"tried": tried, "refused, with the reason": refused, "files changed": changed}
    findings.hold(changed == 0, f"{changed} files were changed")


async def _is_refused(setting: Setting, findings: Findings, name: str, url: str, words: str) -> bool:
    document = configuration(url, _NOBODY, durability="strict", decision_keys=list(KEYS))
    gateway = Gateway(setting.folder, f"gateway-{name}", document)
    await gateway.start(is_awaited=False)
    try:
        async with asyncio.timeout(_ENDED_S):
            code = await gateway.child.process.wait()
    except TimeoutError:
        findings.hold(False, f"{name}: the gateway started")
        return False
    finally:
        await processes.end(gateway.child)
    says_why = words in gateway.log()
    findings.hold(code == _FAILED, f"{name}: exit status {code}")
    findings.hold(says_why, f"{name}: {words!r} is not in what it says: {gateway.log()[-300:]}")
    return code == _FAILED and says_why


@contextlib.asynccontextmanager
async def _redis(folder: Path, settings: tuple[str, ...]) -> AsyncIterator[str]:
    redis = RedisProcess(folder, settings=settings)
    await redis.start()
    try:
        yield redis.url
    finally:
        await redis.end()


async def _made(path: Path) -> None:
    """Make a store as a gateway does."""
    store = open_store(f"sqlite://{path}")
    await store.open()
    await store.close()


def _newer(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.execute(f"PRAGMA user_version = {version + 1}")


def _of_another(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 1")


def _damaged(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    # Behind the header of 100 bytes, which names it a database.
    raw[100:4096] = b"\xff" * (4096 - 100)
    path.write_bytes(raw)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
