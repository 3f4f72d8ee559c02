"""Counting rewards in the store, of sticky experiments only with the decision that is its unit's trial."""

from collections.abc import Sequence
from dataclasses import replace

from router.spool.entries import Spooled
from router.store import Reward, RewardResult, Store


def apart(reward: Reward) -> Reward:
    """Return a reward as one that is kept, and not learned from."""
    return replace(reward, fields={"unlearned_rewards": 1, "unlearned_reward_q": reward.fields["reward_q"]})


async def settled(store: Store, entries: Sequence[Spooled]) -> list[Reward]:
    """Return the rewards to count: whoever is not its unit's trial is kept apart. Raises StoreUnavailable."""
    trials = [entry.trial for entry in entries if entry.trial is not None]
    results = iter(await store.add_rewards(trials)) if trials else iter(())
    return [
        apart(entry.reward)
        if entry.trial is not None and next(results) is RewardResult.CONFLICT and "reward_q" in entry.reward.fields
        else entry.reward
        for entry in entries
    ]
