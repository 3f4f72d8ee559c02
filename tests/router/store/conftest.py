from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from router.store import Store, open_store
from router.store.redis_documents import LEASE_KEY, SEEN_KEY
from tests.redis_server import RedisServer, redis_server
from tests.router.store.samples import NOW


@pytest.fixture(scope="session")
def one_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for all tests of this folder."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(one_redis: RedisServer) -> RedisServer:
    """A Redis that is empty and remembers no script."""
    one_redis.tell("FLUSHALL")
    one_redis.tell("SCRIPT", "FLUSH")
    return one_redis


@pytest.fixture(params=["memory", "sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new store of each kind."""
    if request.param == "redis":
        found: str = request.getfixturevalue("redis").url
        return found
    return "memory:" if request.param == "memory" else f"sqlite://{tmp_path}/store/turpin.db"


def opened_at_now(url: str) -> Store:
    """Return a store, not yet open, for which it is NOW."""
    return open_store(url, unix_now=lambda: NOW)


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """A new, open store of each kind."""
    opened = opened_at_now(url)
    await opened.open()
    yield opened
    await opened.close()


class StoreTime:
    """The time by which a store goes. Mutable: `now`, which is told to stores that ask their callers."""

    def __init__(self, redis: RedisServer | None) -> None:
        self._redis = redis
        self.now = NOW

    def passes(self, seconds: float) -> None:
        """Be so much later. A Redis goes by a clock of its own: what it holds becomes so much older."""
        self.now += seconds
        if self._redis is not None:
            self._redis.tell("EVAL", _AGED, "2", LEASE_KEY, SEEN_KEY, str(-seconds))


_AGED = """
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HINCRBYFLOAT', KEYS[1], 'expires_at', ARGV[1]) end
for _, gateway in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do redis.call('ZINCRBY', KEYS[2], ARGV[1], gateway) end
"""


@pytest.fixture
def time(request: pytest.FixtureRequest, url: str) -> StoreTime:
    """The time of the store."""
    return StoreTime(request.getfixturevalue("redis") if url.startswith("redis") else None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where an SQLite store may be made."""
    return tmp_path / "turpin.db"
