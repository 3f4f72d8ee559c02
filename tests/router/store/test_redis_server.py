"""How durable a Redis is, read at the start; `strict` refuses one that loses what it acknowledged."""

import re
from pathlib import Path

import pytest

from router.store import StoreUnopenable, open_store
from router.store.redis_server import Durability
from tests.redis_server import redis_server

AOF = ("--save", "", "--appendonly", "yes", "--appendfsync", "everysec")


async def opened(url: str, *, is_strict: bool) -> None:
    store = open_store(url, durability="strict" if is_strict else "standard")
    await store.open()
    await store.close()


async def test_server_without_aof_is_refused_in_strict_and_warned_of_otherwise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path) as server:
        with pytest.raises(StoreUnopenable, match="has appendonly no: it must be yes"):
            await opened(server.url, is_strict=True)
        await opened(server.url, is_strict=False)

    assert "the store may lose rewards: it has appendonly no" in caplog.text


async def test_server_that_evicts_is_refused_in_strict(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path, *AOF, "--maxmemory-policy", "allkeys-lru") as server,
        pytest.raises(StoreUnopenable, match="maxmemory-policy allkeys-lru: it must be noeviction"),
    ):
        await opened(server.url, is_strict=True)


async def test_durable_server_is_taken_and_what_it_loses_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with redis_server(tmp_path, *AOF) as server:
        await opened(server.url, is_strict=True)

    (line,) = [record for record in caplog.records if record.message == "durability of the store"]
    assert vars(line)["appendfsync"] == "everysec"
    assert "about 1 s at a power cut" in vars(line)["killed_it_loses"]


async def test_user_who_may_not_read_the_configuration_gets_unknown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path, *AOF) as server:
        server.tell("ACL", "SETUSER", "turpin", "on", ">secret", "~*", "+@all", "-@admin", "-@dangerous")
        url = server.url.replace("redis://", "redis://turpin:secret@")
        await opened(url, is_strict=False)
        with pytest.raises(StoreUnopenable, match="does not say whether it has appendonly"):
            await opened(url, is_strict=True)
        with pytest.raises(StoreUnopenable, match="check user, password") as refusal:
            await opened(url.replace("secret", "wrong"), is_strict=False)

    assert "unknown" in str(vars(caplog.records[0]))
    assert "wrong@" not in str(refusal.value)


@pytest.mark.parametrize(
    ("fsync", "words"),
    [("always", "^nothing; a failover loses"), ("no", "power cut"), (None, "as much as its appendfsync says")],
)
def test_what_is_lost_is_told_for_each_way_to_sync(fsync: str | None, words: str) -> None:

    assert re.search(words, Durability("7.0.0", True, fsync, "noeviction").loses)
