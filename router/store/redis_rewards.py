"""Counting in Redis: rewards once per pair, flushes once per sequence, and the sums that came of both."""

from collections.abc import Mapping, Sequence

from router.store.contract import Changed, CounterOverflow, Deltas, Reward, RewardResult, StoreReset
from router.store.ledger import Key
from router.store.redis_counting import CELLS, FLUSH, REWARDS
from router.store.redis_lineage import Lineage
from router.store.redis_link import Answer, RedisLink
from router.store.redis_scripts import Script
from router.store.redis_sums import (
    REWARDS_PER_SCRIPT,
    EpochKeys,
    added,
    cell_arguments,
    cell_of,
    pair_arguments,
    value_of,
)

# Cells read by one script: a few hundred kilobytes.
_CELLS_PER_SCRIPT = 512


class RedisSums:
    """Mutable: the epochs that this process has written to; if one of them is gone, the store was emptied."""

    def __init__(self, link: RedisLink, lineage: Lineage) -> None:
        self._link = link
        self._lineage = lineage
        self._known: set[int] = set()

    def forget(self) -> None:
        """Take the store as it is, as one that was never written to."""
        self._known.clear()

    async def flush(self, gateway: str, sequence: int, deltas: Deltas, now: float) -> None:
        """Add a gateway's counts, one step for each epoch."""
        sums = added(deltas.items())
        for epoch in {cell.epoch for cell in sums}:
            keys = EpochKeys(epoch)
            cells, arguments = cell_arguments({cell: sums[cell] for cell in sums if cell.epoch == epoch}, keys)
            await self._add(epoch, FLUSH, [keys.sequences, *cells], now, [gateway, str(sequence), *arguments])

    async def add_rewards(self, rewards: Sequence[Reward], now: float) -> list[RewardResult]:
        """Count each reward whose pair is new within its epoch, and say what became of each, in order."""
        results: list[RewardResult] = [RewardResult.RECORDED] * len(rewards)
        by_epoch: dict[int, list[int]] = {}
        for place, reward in enumerate(rewards):
            by_epoch.setdefault(reward.cell.epoch, []).append(place)
        for epoch, places in by_epoch.items():
            for start in range(0, len(places), REWARDS_PER_SCRIPT):
                chunk = places[start : start + REWARDS_PER_SCRIPT]
                found = await self._count(epoch, [rewards[place] for place in chunk], now)
                for place, result in zip(chunk, found, strict=True):
                    results[place] = result
        return results

    async def _count(self, epoch: int, rewards: Sequence[Reward], now: float) -> list[RewardResult]:
        """Try with all pairs as new ones, then without those that the store turned out to know."""
        keys = EpochKeys(epoch)
        fresh: dict[Key, Reward] = {}
        for reward in rewards:
            fresh.setdefault((reward.nonce, reward.event), reward)
        known: dict[Key, float] = {}
        while fresh:
            sums = added((reward.cell, reward.fields) for reward in fresh.values())
            cells, arguments = cell_arguments(sums, keys)
            answer = await self._add(epoch, REWARDS, cells, now, [*pair_arguments(fresh, now), *arguments])
            if answer[0] != b"KNOWN":
                break
            order = list(fresh)
            for position, value in zip(answer[1::2], answer[2::2], strict=True):
                pair = order[int(position) - 1]
                known[pair] = value_of(value)
                fresh.pop(pair, None)
        return _results(rewards, fresh, known)

    async def _add(
        self, epoch: int, script: Script, keys: Sequence[str], now: float, arguments: Sequence[str | bytes]
    ) -> Answer:
        if self._lineage.refusal:
            raise StoreReset(self._lineage.refusal)
        names = EpochKeys(epoch)
        answer = await self._link.run_counting(
            script,
            [names.mark, names.changed, names.changes, names.scratch, names.pairs, *keys],
            ["1" if epoch in self._known else "0", self._lineage.generation, repr(now), *arguments],
        )
        if answer[0] == b"RESET":
            self._lineage.met_emptied()
            raise StoreReset(self._lineage.refusal)
        if answer[0] == b"OVERFLOW":
            _, cell, field, number = (part.decode() for part in answer)
            raise CounterOverflow(f"{field} of {cell} would grow by {number}, beyond 64 bits; nothing was added")
        self._known.add(epoch)
        return answer

    async def since(self, epoch: int, stamp: int) -> Changed:
        """Return the cells that have changed since the read that gave `stamp`."""
        if self._lineage.refusal:
            raise StoreReset(self._lineage.refusal)
        keys = EpochKeys(epoch)
        # By command, not by script: the answer may be long, and what changes meanwhile is told again by the next read.
        found = await self._link.read("ZRANGEBYSCORE", keys.changed, str(stamp), "+inf", "WITHSCORES", is_bulk=True)
        scores = _scores(found)
        names = list(scores)
        cells: dict[tuple[int, int], dict[str, int]] = {}
        for start in range(0, len(names), _CELLS_PER_SCRIPT):
            chunk = names[start : start + _CELLS_PER_SCRIPT]
            _, *hashes = await self._link.run_bulk(CELLS, [keys.cell(name) for name in chunk], [])
            for name, kept in zip(chunk, hashes, strict=True):
                arm, _, block = name.partition(":")
                cells[int(arm), int(block)] = cell_of(kept)
        return Changed(max((score + 1 for score in scores.values()), default=stamp), cells)


def _scores(answer: object) -> Mapping[str, int]:
    """Return the names of cells with the numbers of their last changes; redis-py answers in either of two shapes."""
    assert isinstance(answer, list)  # noqa: S101 - what ZRANGEBYSCORE answers
    if answer and isinstance(answer[0], bytes):
        answer = list(zip(answer[::2], answer[1::2], strict=True))
    return {name.decode(): int(float(score)) for name, score in answer}


def _results(rewards: Sequence[Reward], fresh: Mapping[Key, Reward], known: Mapping[Key, float]) -> list[RewardResult]:
    results = []
    counted: set[Key] = set()
    for reward in rewards:
        pair = (reward.nonce, reward.event)
        if pair in fresh and pair not in counted:
            counted.add(pair)
            results.append(RewardResult.RECORDED)
        else:
            first = known[pair] if pair in known else fresh[pair].value
            results.append(RewardResult.DUPLICATE if first == reward.value else RewardResult.CONFLICT)
    return results
