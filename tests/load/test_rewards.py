"""The reward sender against a real HTTP server: nothing lost, nothing doubled, whatever the server does."""

import asyncio

import aiohttp
import pytest

from load.demo import rewards
from load.demo.rewards import RewardSender
from tests.load.stand_in import StandIn


async def send(gateway: StandIn, count: int, limit_s: float = 10.0) -> tuple[RewardSender, bool]:
    """Send `count` rewards to `gateway`, and say whether the sender came to its end."""
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
        sender = RewardSender(session, gateway.url)
        running = tasks.create_task(sender.run())
        for number in range(count):
            await sender.put(f"token-{number}", float(number % 2))
        is_finished = await sender.finish(limit_s)
        if not is_finished:
            running.cancel()
    return sender, is_finished


async def test_every_reward_arrives_with_its_value() -> None:
    async with StandIn() as gateway:
        sender, is_finished = await send(gateway, 1200)

    assert is_finished
    assert gateway.rewards == {f"token-{number}": float(number % 2) for number in range(1200)}
    assert (sender.taken, sender.acknowledged, sender.refused.total()) == (1200, 1200, 0)
    assert gateway.reward_calls < 20


async def test_busy_gateway_is_asked_again() -> None:
    async with StandIn() as gateway:
        gateway.reward_faults = [503, 429, 500]
        sender, is_finished = await send(gateway, 10)

    assert is_finished
    assert len(gateway.rewards) == 10
    assert (sender.acknowledged, gateway.reward_calls) == (10, 4)


async def test_lost_acknowledgement_is_asked_for_again_and_counted_once() -> None:
    async with StandIn() as gateway:
        gateway.reward_faults = [0]
        sender, is_finished = await send(gateway, 10)

    assert is_finished
    assert (len(gateway.rewards), sender.acknowledged, gateway.reward_calls) == (10, 10, 2)


async def test_refused_reward_is_told_and_keeps_none_of_the_others() -> None:
    async with StandIn() as gateway:
        gateway.refused_lines["token-3"] = 1
        sender, is_finished = await send(gateway, 10)

    assert is_finished
    assert (len(gateway.rewards), sender.acknowledged) == (9, 9)
    assert sender.refused == {"reward 410 window closed: too late": 1}


async def test_call_refused_as_a_whole_is_told_per_reward() -> None:
    async with StandIn() as gateway:
        gateway.reward_faults = [401]
        sender, is_finished = await send(gateway, 4)

    assert is_finished
    assert (sender.acknowledged, sender.refused.total(), gateway.reward_calls) == (0, 4, 1)


async def test_end_without_a_gateway_is_bounded() -> None:
    async with StandIn() as gateway:
        pass  # Its port is closed now.
    sender, is_finished = await send(gateway, 3, limit_s=0.5)

    assert not is_finished
    assert (sender.taken, sender.acknowledged) == (3, 0)


async def test_full_queue_holds_the_traffic_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewards, "QUEUE_MAX", 2)
    async with aiohttp.ClientSession() as session:
        sender = RewardSender(session, "http://127.0.0.1:1")
        await sender.put("a", 1.0)
        await sender.put("b", 1.0)

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await sender.put("c", 1.0)
