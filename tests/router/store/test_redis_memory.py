"""A gateway that is restarted still knows its Redis: by a file on its own disk. R8, R9."""

import json
from pathlib import Path

import pytest

from router.store import Store, StoreReset, open_store
from router.store.redis_lineage import Beat, Known, Lineage
from router.store.redis_memory import StoreMemory
from router.store.redis_store import RedisStore
from tests.redis_server import RedisServer
from tests.router.store.samples import CELL, NOW, reward


async def opened(redis: RedisServer, folder: Path) -> Store:
    """What a gateway has when it starts."""
    store = open_store(redis.url, memory=folder, unix_now=lambda: NOW)
    await store.open()
    return store


async def leave_a_life(redis: RedisServer, folder: Path, *, beats: int = 3) -> None:
    """Let a gateway live, learn and end."""
    store = await opened(redis, folder)
    assert await store.lease("leader", NOW, 60.0) == 1
    await store.save_experiment("a", b"one", 0, 1)
    await store.add_rewards([reward(1)])
    for sequence in range(1, beats):
        await store.flush("g", sequence, {CELL: {"rows": 1}}, b"", NOW)
    await store.close()


def remembered(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


async def test_restarted_gateway_takes_an_emptied_redis_for_no_new_one(
    redis: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await leave_a_life(redis, tmp_path)
    redis.tell("FLUSHALL")
    store = await opened(redis, tmp_path)

    assert "store reset" in caplog.text
    for call in (
        lambda: store.lease("leader", NOW, 60.0),
        lambda: store.experiments(),
        lambda: store.snapshots(),
        lambda: store.add_rewards([reward(2)]),
        lambda: store.flush("g", 9, {CELL: {"rows": 1}}, b"", NOW),
        lambda: store.save_experiment("a", b"prior", 0, None),
    ):
        with pytest.raises(StoreReset, match=r"it is empty.*turpin store accept"):
            await call()
    assert redis.tell("DBSIZE") == "0"
    await store.close()

    # Nothing of it was taken for known: the next start refuses it as well.
    again = await opened(redis, tmp_path)
    with pytest.raises(StoreReset):
        await again.experiments()
    await again.close()


async def test_restarted_gateway_takes_no_store_that_another_machine_made(redis: RedisServer, tmp_path: Path) -> None:
    await leave_a_life(redis, tmp_path / "one")
    redis.tell("FLUSHALL")
    await leave_a_life(redis, tmp_path / "other")
    store = await opened(redis, tmp_path / "one")

    with pytest.raises(StoreReset, match=r"it is [0-9a-f]{16}, not"):
        await store.experiments()
    await store.close()


@pytest.mark.parametrize(("lost_s", "is_refused"), [(3600.0, True), (2.0, False)])
async def test_restarted_gateway_notices_an_older_store(
    redis: RedisServer, tmp_path: Path, lost_s: float, is_refused: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a backup that was restored, or a failover that lost the last seconds."""
    await leave_a_life(redis, tmp_path, beats=9)
    redis.tell("HSET", "{turpin}:store", "beats", "4")
    redis.tell("HINCRBYFLOAT", "{turpin}:store", "beat_at", str(-lost_s))
    store = await opened(redis, tmp_path)

    if is_refused:
        with pytest.raises(StoreReset, match="went back in time, by 360"):
            await store.experiments()
        with pytest.raises(StoreReset, match="went back in time"):
            await store.lease("leader", NOW, 60.0)
    else:
        # In a new epoch, past all that may have been given out in what is lost.
        assert await store.lease("leader", NOW, 60.0) == 1002
        assert "without its last seconds" in caplog.text
    await store.close()


async def test_accepted_store_is_gone_on_with_at_once_and_after_the_next_start(
    redis: RedisServer, tmp_path: Path
) -> None:
    await leave_a_life(redis, tmp_path)
    redis.tell("FLUSHALL")
    store = await opened(redis, tmp_path)
    with pytest.raises(StoreReset):
        await store.lease("leader", NOW, 60.0)
    operator = RedisStore(redis.url)
    await operator.open()
    await operator.accept()
    await operator.close()

    # Beats find out, as those of a gateway that ran on.
    assert await store.lease("leader", NOW, 60.0) == 2
    assert await store.experiments() == []
    await store.close()
    after = await opened(redis, tmp_path)
    assert await after.lease("leader", NOW, 60.0) == 2
    await after.close()


async def test_right_store_is_gone_on_with_and_another_address_is_another_store(
    redis: RedisServer, tmp_path: Path
) -> None:
    await leave_a_life(redis, tmp_path)
    store = await opened(redis, tmp_path)
    assert await store.lease("leader", NOW, 60.0) == 1
    assert [record.document for record in await store.experiments()] == [b"one"]
    await store.close()
    known = json.loads(remembered(tmp_path).read_bytes())
    # Two flushes and two leases.
    assert known["beats"] == 4
    assert known["generation"] == redis.tell("HGET", "{turpin}:store", "generation")

    assert await StoreMemory(tmp_path, "redis://elsewhere:6379").recall() is None


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"generation": "g"}'])
async def test_unreadable_memory_is_said_and_made_anew(
    redis: RedisServer, tmp_path: Path, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    await leave_a_life(redis, tmp_path)
    remembered(tmp_path).write_bytes(text)
    store = await opened(redis, tmp_path)

    assert "can't be read" in caplog.text
    assert len(await store.experiments()) == 1
    await store.close()
    assert json.loads(remembered(tmp_path).read_bytes())["beats"] == 3


async def test_folder_that_can_t_be_written_is_said_and_keeps_nobody_from_serving(
    redis: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    await leave_a_life(redis, tmp_path / "file" / "folder")

    assert caplog.text.count("can't remember which store is known") == 1


async def test_what_is_remembered_follows_the_beats_of_a_gateway_that_runs(tmp_path: Path) -> None:
    now_s = [100.0]
    lineage = Lineage("redis://r")
    lineage.know("g", Beat(1, NOW))
    memory = StoreMemory(tmp_path, "redis://r", lambda: now_s[0])
    await memory.follow(lineage)
    lineage.saw(Beat(2, NOW + 1))
    await memory.keep_now_and_then()
    assert await memory.recall() == Known("g", Beat(1, NOW))

    now_s[0] += 5.0
    await memory.keep_now_and_then()
    assert await memory.recall() == Known("g", Beat(2, NOW + 1))
    lineage.met_other("h", Beat(), is_accepted=False)
    await memory.keep()
    assert await memory.recall() == Known("g", Beat(2, NOW + 1))
    # Nothing else is left in the folder.
    assert remembered(tmp_path) == memory.path
