"""A Redis that comes back empty, older or as another is noticed by the next call, and nobody goes on in silence. R8, R9."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from router.store import Fenced, RewardResult, Store, StoreReset, open_store
from router.store.redis_lineage import FAILOVER_LOSS_MAX_S, Beat, Lineage
from router.store.redis_store import RedisStore
from tests.redis_server import AOF, RedisServer, redis_server
from tests.router.store.samples import CELL, NOW, reward


@pytest.fixture
async def gateway(redis: RedisServer) -> AsyncIterator[Store]:
    """A store that a gateway has written to for a while."""
    store = await opened(redis.url)
    await store.lease("leader", NOW, 60.0)
    await store.save_experiment("a", b"one", 0, 1)
    await store.flush("g", 1, {CELL: {"rows": 1}}, b"beat", NOW)
    await store.add_rewards([reward(1)])
    yield store
    await store.close()


async def opened(url: str) -> RedisStore:
    store = open_store(url, unix_now=lambda: NOW)
    assert isinstance(store, RedisStore)
    await store.open()
    return store


async def test_emptied_store_takes_no_call_of_those_who_knew_it(redis: RedisServer, gateway: Store) -> None:
    redis.tell("FLUSHALL")

    with pytest.raises(StoreReset, match="it is empty"):
        await gateway.lease("leader", NOW, 60.0)
    with pytest.raises(StoreReset):
        await gateway.flush("g", 2, {}, b"", NOW)
    with pytest.raises(StoreReset):
        await gateway.add_rewards([reward(2)])
    with pytest.raises(StoreReset):
        await gateway.save_experiment("a", b"two", 1, None)
    with pytest.raises(StoreReset):
        await gateway.sums_since(CELL.epoch, 0)
    assert redis.tell("DBSIZE") == "0"


async def test_reward_itself_notices_that_its_experiment_is_gone(redis: RedisServer, gateway: Store) -> None:
    redis.tell("FLUSHALL")

    with pytest.raises(StoreReset, match="has lost what it held"):
        await gateway.add_rewards([reward(1)])
    assert redis.tell("DBSIZE") == "0"


async def test_store_that_a_newcomer_made_is_another(redis: RedisServer, gateway: Store) -> None:
    redis.tell("FLUSHALL")
    newcomer = await opened(redis.url)
    await newcomer.close()

    with pytest.raises(StoreReset, match=r"is not the store that was known here: it is [0-9a-f]{16}, not"):
        await gateway.flush("g", 2, {}, b"", NOW)


async def test_accepted_store_is_gone_on_with_in_a_new_epoch_of_the_lease(redis: RedisServer, gateway: Store) -> None:
    before = await gateway.lease("leader", NOW, 60.0)
    redis.tell("FLUSHALL")
    with pytest.raises(StoreReset):
        await gateway.lease("leader", NOW, 60.0)
    operator = await opened(redis.url)
    await operator.accept()
    await operator.close()

    after = await gateway.lease("leader", NOW, 60.0)
    assert (before, after) == (1, 2)
    assert await gateway.add_rewards([reward(1)]) == [RewardResult.RECORDED]
    assert await gateway.experiments() == []
    with pytest.raises(Fenced):
        await gateway.save_experiment("a", b"two", 0, before)


async def test_right_store_that_comes_back_is_gone_on_with(tmp_path: Path) -> None:
    arguments = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")
    with redis_server(tmp_path / "right", *arguments) as right:
        store = await opened(right.url)
        await store.lease("leader", NOW, 60.0)
        right.end()
        wrong = RedisServer(tmp_path / "wrong", port=right.port)
        wrong.start()
        with pytest.raises(StoreReset):
            await store.lease("leader", NOW, 60.0)
        wrong.end()
        right.start()

        assert await store.lease("leader", NOW, 60.0) == 1
        assert await store.snapshots() == {}
        await store.close()


@pytest.mark.parametrize("what", ["counts", "rewards"])
async def test_whoever_only_counts_goes_on_with_the_right_store_too(tmp_path: Path, what: str) -> None:
    """A worker under traffic: every flush of it has counts, and it never asks for the lease."""
    with redis_server(tmp_path / "right", *AOF) as right:
        store = await opened(right.url)
        await store.flush("g", 1, {CELL: {"rows": 1}}, b"", NOW)
        right.end()
        wrong = RedisServer(tmp_path / "wrong", port=right.port)
        wrong.start()
        with pytest.raises(StoreReset):
            await store.flush("g", 2, {CELL: {"rows": 1}}, b"", NOW)
        wrong.end()
        right.start()

        if what == "rewards":
            assert await store.add_rewards([reward(1)]) == [RewardResult.RECORDED]
        await store.flush("g", 2, {CELL: {"rows": 1}}, b"", NOW)
        sums = (await store.sums(CELL.epoch))[CELL.arm, CELL.block]
        assert (sums["rows"], sums["rewards"]) == (2, int(what == "rewards"))
        await store.close()


async def test_backup_of_before_is_noticed(tmp_path: Path) -> None:
    """The server is put back to what it was, and its word for when that was is made an hour older."""
    folder = tmp_path / "r"
    arguments = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")
    with redis_server(folder, *arguments) as server:
        store = await opened(server.url)
        await store.flush("g", 1, {CELL: {"rows": 1}}, b"", NOW)
        server.tell("HINCRBYFLOAT", "{turpin}:store", "beat_at", "-3600")
        server.end()
        shutil.copytree(folder, tmp_path / "backup")
        server.start()
        for sequence in range(2, 9):
            await store.flush("g", sequence, {CELL: {"rows": 1}}, b"", NOW)
        server.end()
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "backup", folder)
        server.start()

        with pytest.raises(StoreReset, match="went back in time, by 360"):
            await store.flush("g", 9, {CELL: {"rows": 1}}, b"", NOW)
        with pytest.raises(StoreReset):
            await store.add_rewards([reward(1)])
        await store.close()


async def test_backup_of_before_takes_no_reward_before_the_next_heartbeat(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    with redis_server(folder, "--save", "", "--appendonly", "yes", "--appendfsync", "always") as server:
        store = await opened(server.url)
        await store.flush("g", 1, {CELL: {"rows": 1}}, b"", NOW)
        await store.add_rewards([reward(1)])
        server.tell("HINCRBYFLOAT", "{turpin}:store", "beat_at", "-3600")
        server.end()
        shutil.copytree(folder, tmp_path / "backup")
        server.start()
        for sequence in range(2, 9):
            await store.flush("g", sequence, {CELL: {"rows": 1}}, b"", NOW)
        server.end()
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "backup", folder)
        server.start()

        with pytest.raises(StoreReset, match="went back in time, by 360"):
            await store.add_rewards([reward(2)])
        raw = await opened(server.url)
        assert (await raw.sums(CELL.epoch))[CELL.arm, CELL.block]["rewards"] == 1
        await raw.close()
        await store.close()


async def test_backup_of_before_takes_no_reward_over_a_connection_that_is_new(tmp_path: Path) -> None:
    """No call has failed: of two at once the one takes the connection that is there, the other makes one."""
    folder = tmp_path / "r"
    with redis_server(folder, "--save", "", "--appendonly", "yes", "--appendfsync", "always") as server:
        store = await opened(server.url)
        await store.flush("g", 1, {CELL: {"rows": 1}}, b"", NOW)
        await store.add_rewards([reward(1)])
        server.tell("HINCRBYFLOAT", "{turpin}:store", "beat_at", "-3600")
        server.end()
        shutil.copytree(folder, tmp_path / "backup")
        server.start()
        for sequence in range(2, 9):
            await store.flush("g", sequence, {CELL: {"rows": 1}}, b"", NOW)
        server.end()
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "backup", folder)
        server.start()

        async def refused(number: int) -> None:
            with pytest.raises(StoreReset):
                await store.add_rewards([reward(number)])

        async with asyncio.TaskGroup() as tasks:
            for number in range(2, 10):
                tasks.create_task(refused(number))
        raw = await opened(server.url)
        assert (await raw.sums(CELL.epoch))[CELL.arm, CELL.block]["rewards"] == 1
        await raw.close()
        await store.close()


class TestLineage:
    @pytest.mark.parametrize("lost_s", [0.0, FAILOVER_LOSS_MAX_S])
    def test_what_a_failover_lost_is_counted_said_and_gone_on_with(
        self, lost_s: float, caplog: pytest.LogCaptureFixture
    ) -> None:
        lineage = Lineage("redis://r")
        lineage.know("g", Beat(100, NOW))

        assert lineage.judge(Beat(95, NOW - lost_s), 0, ()) == "take over"
        lineage.lost(Beat(95, NOW - lost_s, 1))
        assert (lineage.last.beats, lineage.last.losses, lineage.changes, lineage.refusal) == (95, 1, 1, "")
        assert "what was acknowledged then is lost" in caplog.text

    def test_loss_that_another_has_counted_is_followed_though_its_beats_have_overtaken_ours(self) -> None:
        lineage = Lineage("redis://r")
        lineage.know("g", Beat(100, NOW))

        assert lineage.judge(Beat(120, NOW + 5, 1), 0, ()) == "follow"
        assert (lineage.last, lineage.changes) == (Beat(120, NOW + 5, 1), 1)

    def test_own_beat_that_is_gone_is_a_loss_though_others_have_beaten_as_often_since(self) -> None:
        lineage = Lineage("redis://r")
        lineage.know("g", Beat(99, NOW - 1))
        lineage.saw(Beat(100, NOW))

        assert lineage.judge(Beat(101, NOW + 1), 98, ()) == "take over"
        assert lineage.judge(Beat(101, NOW + 1), 100, ()) == "same"

    @pytest.mark.parametrize("lost_s", [FAILOVER_LOSS_MAX_S + 0.001, 3600.0])
    def test_what_is_more_than_a_failover_is_refused(self, lost_s: float) -> None:
        lineage = Lineage("redis://r")
        lineage.know("g", Beat(100, NOW))

        assert lineage.judge(Beat(95, NOW - lost_s), 0, ()) == "refuse"
        assert "turpin store accept" in lineage.refusal

    @pytest.mark.parametrize("beats", [95, 200])
    def test_backup_that_a_newcomer_has_beaten_is_refused_by_the_pause_in_it(self, beats: int) -> None:
        lineage = Lineage("redis://r")
        lineage.know("g", Beat(100, NOW))

        assert lineage.judge(Beat(beats, NOW + 60), 0, [(NOW - 3600, NOW + 30)]) == "refuse"
        assert "by 3600 s" in lineage.refusal

    def test_answers_that_come_out_of_order_take_nothing_back(self) -> None:
        lineage = Lineage("redis://r")
        lineage.know("g", Beat())
        lineage.saw(Beat(2, NOW))
        lineage.saw(Beat(1, NOW - 1))
        assert lineage.last == Beat(2, NOW)

        lineage.lost(Beat(1, NOW - 1, 1))
        lineage.saw(Beat(3, NOW + 1))
        assert lineage.last == Beat(1, NOW - 1, 1)

    def test_reset_is_logged_once(self, caplog: pytest.LogCaptureFixture) -> None:
        lineage = Lineage("redis://r")
        lineage.know("g", Beat())
        for _ in range(5):
            assert not lineage.met_other("", Beat(), is_accepted=False)

        assert caplog.text.count("store reset") == 1
