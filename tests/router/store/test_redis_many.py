"""Smoke: a master behind a Sentinel that fails over, and a Cluster of three nodes."""

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.store import Entry, RewardResult, StoreUnavailable, open_store
from tests.redis_server import PATIENCE_S, RedisServer, redis_command, redis_server
from tests.router.store.samples import CELL, NOW, reward
from tests.system.gateway import until

pytestmark = [
    pytest.mark.timeout(90),
    # redis-py leaves connections behind when it learns the nodes of a Cluster.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer, RedisServer]]:
    """Run a master, its replica and a Sentinel that takes a second of silence for death."""
    redis_command("redis-sentinel")
    with redis_server(tmp_path / "master") as master, redis_server(tmp_path / "replica") as replica:
        replica.tell("REPLICAOF", "127.0.0.1", str(master.port))
        (tmp_path / "sentinel").mkdir()
        (tmp_path / "sentinel" / "sentinel.conf").write_text(
            f"sentinel monitor main 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 3000\n"
        )
        watcher = RedisServer(tmp_path / "sentinel", arguments=(), program="redis-sentinel")
        watcher.start()
        try:
            yield master, replica, watcher
        finally:
            watcher.end()


async def test_store_follows_the_master_that_a_sentinel_names(
    sentinel: tuple[RedisServer, RedisServer, RedisServer],
) -> None:
    master, replica, watcher = sentinel
    store = open_store(f"redis+sentinel://127.0.0.1:{watcher.port}/main?timeout_ms=2000", unix_now=lambda: NOW)
    await store.open()
    assert await store.add_rewards([reward(1)]) == [RewardResult.RECORDED]
    fence = await store.lease("a", NOW, 60.0)
    await until("the replica's copy", lambda: "state=online" in master.tell("INFO", "replication"))
    await until("a replica that the Sentinel knows", lambda: "slaves=1" in watcher.tell("INFO", "sentinel"))
    assert master.tell("WAIT", "1", str(int(PATIENCE_S * 1e3))) == "1"
    master.end()

    async def again() -> bool:
        try:
            return await store.add_rewards([reward(1), reward(2)]) == [
                RewardResult.DUPLICATE,
                RewardResult.RECORDED,
            ]
        except StoreUnavailable:
            return False

    await until("the new master", again, patience_s=60.0)
    assert "role:master" in replica.tell("INFO", "replication")
    assert await store.lease("a", NOW, 60.0) == fence
    await store.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[RedisServer]]:
    """Run three masters with a third of the slots each."""
    arguments = ("--save", "", "--appendonly", "no", "--cluster-enabled", "yes")
    nodes = [RedisServer(tmp_path / str(number), arguments=arguments) for number in range(3)]
    try:
        for number, node in enumerate(nodes):
            node.start()
            first, last = 16384 * number // 3, 16384 * (number + 1) // 3 - 1
            node.tell("CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
            node.tell("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        for node in nodes[1:]:
            nodes[0].tell("CLUSTER", "MEET", "127.0.0.1", str(node.port))
        yield nodes
    finally:
        for node in nodes:
            node.end()


async def test_cluster_keeps_each_experiment_in_one_place(cluster: list[RedisServer]) -> None:
    for node in cluster:
        await until("a whole cluster", lambda: "cluster_state:ok" in node.tell("CLUSTER", "INFO"))  # noqa: B023
    addresses = ",".join(f"127.0.0.1:{node.port}" for node in cluster[:2])
    store = open_store(f"redis+cluster://{addresses}?timeout_ms=2000", unix_now=lambda: NOW)
    await store.open()
    cells = [CELL._replace(epoch=epoch) for epoch in range(12)]

    fence = await store.lease("a", NOW, 60.0)
    await store.save_experiment("a", b"one", 0, fence, [Entry("a", b"first"), Entry("/audit", b"who")])
    await store.flush("g", 1, {cell: {"rows": 2} for cell in cells}, b"beat", NOW)
    results = await store.add_rewards([reward(number, cell=cell) for number, cell in enumerate(cells)] * 2)
    async with asyncio.TaskGroup() as tasks:
        sums = [tasks.create_task(store.sums(cell.epoch)) for cell in cells]

    assert results == [RewardResult.RECORDED] * 12 + [RewardResult.DUPLICATE] * 12
    assert all(one.result()[CELL.arm, CELL.block]["rows"] == 2 for one in sums)
    assert await store.history("/audit", 9) == [b"who"]
    # Twelve experiments are spread over the nodes, each of them wholly on one.
    assert sum(int(node.tell("DBSIZE")) > 0 for node in cluster) == 3
    await store.close()
    gc.collect()
