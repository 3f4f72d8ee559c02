"""What may happen to a Redis: killed, stopped, full, slow, cut off in mid-answer. Cases R1 to R6, R10 and R11."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import pytest
import uvloop

from load.chaos.faults import Cut, Delay, Garbage, Sometimes
from load.chaos.proxy import proxy_to
from router.store import RewardResult, Store, StoreUnavailable, open_store
from tests.redis_server import PATIENCE_S, RedisServer, redis_server
from tests.router.store.samples import CELL, NOW, nonce, reward
from tests.system.gateway import until

RECORDED, DUPLICATE = RewardResult.RECORDED, RewardResult.DUPLICATE
_POLL_S: Final = 0.01


@pytest.fixture
async def durable(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A Redis of its own that keeps a log."""
    with redis_server(tmp_path / "r", "--save", "", "--appendonly", "yes", "--appendfsync", "everysec") as server:
        yield server


async def opened(url: str) -> Store:
    store = open_store(url, unix_now=lambda: NOW)
    await store.open()
    return store


async def counted(store: Store) -> int:
    return (await store.sums(CELL.epoch))[CELL.arm, CELL.block]["rewards"]


async def sooner_or_later(store: Store, call: Callable[[], asyncio.Future[object] | object]) -> object:
    """Repeat a call until the store is back."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await call()  # type: ignore[misc]  # A coroutine each time.
            except StoreUnavailable:
                await asyncio.sleep(_POLL_S)


async def test_killed_server_loses_nothing_acknowledged_and_counts_nothing_twice(durable: RedisServer) -> None:
    store = await opened(durable.url)
    acknowledged: set[int] = set()

    async def send(first: int) -> None:
        for number in range(first, first + 400):
            await sooner_or_later(store, lambda: store.add_rewards([reward(number)]))  # noqa: B023 - awaited at once
            acknowledged.add(number)

    async with asyncio.TaskGroup() as tasks:
        for first in range(0, 3200, 400):
            tasks.create_task(send(first))
        for enough in (400, 1600):
            await until("some rewards", lambda: len(acknowledged) >= enough)  # noqa: B023 - awaited at once
            durable.end()
            await asyncio.to_thread(durable.start)
    total = await counted(store)
    await store.close()

    assert total == len(acknowledged) == 3200


async def test_stopped_server_is_given_up_on_soon_and_asked_again(durable: RedisServer) -> None:
    store = await opened(durable.url.replace("5000", "100"))
    await sooner_or_later(store, lambda: store.add_rewards([reward(1)]))
    durable.signal(signal.SIGSTOP)
    loop = asyncio.get_running_loop()

    for number in range(2, 5):
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await store.add_rewards([reward(number)])
    began = loop.time()
    refused = 0
    for number in range(5, 105):
        with pytest.raises(StoreUnavailable):
            await store.add_rewards([reward(number)])
        refused += 1
    took_s = loop.time() - began
    durable.signal(signal.SIGCONT)
    results = await sooner_or_later(store, lambda: store.add_rewards([reward(number) for number in range(1, 105)]))
    total = await counted(store)
    await store.close()

    assert refused == 100
    # Without a breaker each of them would have waited twice 100 ms.
    assert took_s < 10.0
    assert isinstance(results, list)
    assert results[0] is DUPLICATE
    assert total == 104


async def test_full_server_refuses_rewards_and_still_answers_reads(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--maxmemory-policy", "noeviction", "--save", "") as server:
        store = await opened(server.url)
        await store.add_rewards([reward(1)])
        server.tell("CONFIG", "SET", "maxmemory", "1mb")
        with pytest.raises(StoreUnavailable, match="its memory is full"):
            await store.add_rewards([reward(2)])
        assert await counted(store) == 1
        server.tell("CONFIG", "SET", "maxmemory", "0")

        assert await store.add_rewards([reward(2)]) == [RECORDED]
        await store.close()


async def test_slow_answers_never_count_twice(redis: RedisServer) -> None:
    async with proxy_to(redis.port) as proxy:
        store = await opened(f"redis://127.0.0.1:{proxy.port}?timeout_ms=200")
        proxy.to_client = Delay(random.Random(5), 0.0, 0.24)

        async def send(numbers: range) -> None:
            await sooner_or_later(store, lambda: store.add_rewards([reward(number) for number in numbers]))

        async with asyncio.TaskGroup() as tasks:
            for start in range(0, 10_000, 500):
                tasks.create_task(send(range(start, start + 500)))
        proxy.heal()
        total = await sooner_or_later(store, lambda: counted(store))
        await store.close()

    assert total == 10_000


async def test_flush_whose_answer_was_lost_counts_once_when_it_is_sent_again(redis: RedisServer) -> None:
    async with proxy_to(redis.port) as proxy:
        store = await opened(f"redis://127.0.0.1:{proxy.port}?timeout_ms=5000")
        proxy.to_client = Sometimes(random.Random(6), 0.3, Cut())
        for sequence in range(1, 21):
            await sooner_or_later(
                store,
                lambda: store.flush("g", sequence, {CELL: {"rewards": 1}}, b"", NOW),  # noqa: B023 - awaited at once
            )
        proxy.heal()
        total = await sooner_or_later(store, lambda: counted(store))
        await store.close()

    assert total == 20


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_connection_that_is_reset_while_idle_is_replaced(
    redis: RedisServer, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """As a firewall resets one that was idle for long. Gateways run on uvloop, which has errors of its own."""

    async def play() -> list[RewardResult]:
        async with proxy_to(redis.port) as proxy:
            store = await opened(f"redis://127.0.0.1:{proxy.port}?timeout_ms=5000")
            await store.add_rewards([reward(1)])
            before = proxy.connections
            proxy.drop()
            await until("the end of the connections", lambda: proxy.open == 0)
            results = await store.add_rewards([reward(1), reward(2)])
            assert proxy.connections > before
            await store.close()
        return results

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(play()) == [DUPLICATE, RECORDED]


async def test_answers_are_never_mixed_up(redis: RedisServer) -> None:
    """Callers that go away, connections cut in mid-answer, and garbage: each answer is still its own."""
    rng = random.Random(3)
    async with proxy_to(redis.port) as proxy:
        store = await opened(f"redis://127.0.0.1:{proxy.port}?timeout_ms=5000")
        for number in range(50):
            fence = await store.lease("a", NOW, 60.0)
            await store.append_history(f"h{number}", b"%d" % number, fence or 0)
        proxy.to_client = Sometimes(rng, 0.01, Cut(), Sometimes(rng, 0.01, Garbage()))
        mixed, right = 0, 0

        async def ask(turns: int) -> None:
            nonlocal mixed, right
            for _ in range(turns):
                number = rng.randrange(50)
                try:
                    async with asyncio.timeout(0.0005 if rng.random() < 0.1 else PATIENCE_S):
                        found = await store.history(f"h{number}", 1)
                except (StoreUnavailable, TimeoutError):
                    continue
                right += found == [b"%d" % number]
                mixed += found != [b"%d" % number]

        async with asyncio.TaskGroup() as tasks:
            for _ in range(20):
                tasks.create_task(ask(150))
        await store.close()

    assert mixed == 0
    assert right > 500


async def test_forgotten_scripts_are_sent_again_unnoticed(redis: RedisServer) -> None:
    store = await opened(redis.url)
    for number in range(5):
        redis.tell("SCRIPT", "FLUSH")
        assert await store.add_rewards([reward(number)]) == [RECORDED]
    await store.close()


async def test_remembered_pair_takes_at_most_120_bytes_and_none_after_its_time(redis: RedisServer) -> None:
    def used() -> int:
        text = redis.tell("INFO", "memory")
        return int(text.split("used_memory_dataset:")[1].split()[0])

    def pairs() -> int:
        return int(redis.tell("EVAL", "return #redis.call('KEYS', '*pairs:*')", "0"))

    rewards = 12_000
    store = await opened(redis.url)
    await store.add_rewards([reward(10**9, expires_at=int(NOW) + 60)])
    before = used()
    heights = []
    # Three windows of 30 minutes, of which each reward is remembered for one; the clock is told by the flushes.
    for turn in range(12):
        now = NOW + turn * 450
        await store.flush("g", turn + 1, {CELL: {"rows": 1}}, b"", now)
        start = turn * rewards // 4
        for first in range(start, start + rewards // 4, 1000):
            await store.add_rewards(
                [reward(number, expires_at=int(now) + 1800) for number in range(first, first + 1000)]
            )
        heights.append(used() - before)
    await store.flush("g", 99, {CELL: {"rows": 1}}, b"", NOW + 10**6)
    left = pairs()
    await store.close()

    assert heights[3] / rewards <= 120.0, heights
    # Flat: a hash is kept for an eighth longer than its pairs, rounded up to a power of two.
    assert max(heights) <= 1.3 * heights[4], heights
    assert left == 0


async def test_nonces_are_told_apart_by_long_events(redis: RedisServer) -> None:
    store = await opened(redis.url)
    events = ["x" * 64, "x" * 63 + "y", "x" * 16, ""]

    assert await store.add_rewards([reward(1, event=event) for event in events]) == [RECORDED] * 4
    assert await store.add_rewards([reward(1, event=event) for event in events]) == [DUPLICATE] * 4
    assert len(nonce(1)) == 16
    await store.close()
