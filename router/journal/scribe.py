"""Turns decisions and rewards into lines of the journal; decides which are in the sample."""

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from router.decisions import Decision, Keyring
from router.journal import lines
from router.snapshot import PARTS, Snapshot
from router.store import Reward

# The experiments of one gateway, and those that have just ended.
_EPOCHS_MAX: Final = 16
# So much of a digest tells decisions apart: of ten million, two share a hash with a chance of 3 in a million.
_HASH_BYTES: Final = 8


class Decided(msgspec.Struct, frozen=True, gc=False):
    """A decision that was answered, the snapshot it was drawn from, and the unit where that was drawn. (A dataclass
    takes five times as long to make, and one is made for every request.)"""

    decision: Decision
    snapshot: Snapshot
    cost_pico_usd: int
    unit: bytes


class Rewarded(msgspec.Struct, frozen=True, gc=False):
    """A reward that was recorded at unix time `now`, so long after its decision."""

    reward: Reward
    experiment: str
    now: float
    delay_s: float


Item: TypeAlias = Decided | Rewarded


class Scribe:
    """Makes the lines of one process. Mutable: what is known of each experiment, and what of that is news."""

    def __init__(self, keys: Keyring, sample: float) -> None:
        self._keys = keys
        self._sample = sample
        self._heads: dict[int, bytes] = {}
        self._news: list[bytes] = []
        # Per epoch the snapshot last met and each segment's propensities: they change once a second, not with every
        # decision.
        self._met: dict[int, tuple[Snapshot, tuple[msgspec.Raw, ...]]] = {}

    @property
    def head(self) -> bytes:
        """What every file has to begin with, so that it can be read when older ones are gone."""
        return b"".join(self._heads.values())

    def take_news(self) -> bytes:
        """Return the lines of experiments that were met or changed since this was asked last."""
        news, self._news = b"".join(self._news), []
        return news

    def text(self, item: Item) -> bytes:
        """Return the item's line; nothing if it is not in the sample."""
        if isinstance(item, Decided):
            hash_ = self._sampled(item.decision.epoch, item.decision.nonce)
            self._meet(item.snapshot)
            return lines.encode(self._decision(item, hash_)) if hash_ else b""
        hash_ = self._sampled(item.reward.cell.epoch, item.reward.nonce)
        return lines.encode(self._reward(item, hash_)) if hash_ else b""

    def _sampled(self, epoch: int, nonce: bytes) -> str:
        """Return the hash of a nonce; empty if its decision and rewards are to be left out."""
        digest = self._keys.point(epoch, b"journal", nonce)[:_HASH_BYTES]
        return digest.hex() if int.from_bytes(digest) < self._sample * lines.HASH_RANGE else ""

    def _meet(self, snapshot: Snapshot) -> None:
        epoch = snapshot.epoch
        known = self._met.get(epoch)
        if known is not None and known[0] is snapshot:
            return
        names = [arm.name for arm in snapshot.arms]
        splits = [one.parts for one in snapshot.segments] or [tuple(arm.parts for arm in snapshot.arms)]
        self._met[epoch] = (snapshot, tuple(_shares(names, parts) for parts in splits))
        head = lines.encode(
            lines.ExperimentLine(
                experiment=snapshot.name,
                epoch=_hex(epoch),
                value_usd=snapshot.value_usd,
                feedback=snapshot.feedback,
                window_s=snapshot.window_s,
                reward_low=snapshot.reward_low,
                reward_high=snapshot.reward_high,
                arms=tuple(names),
            )
        )
        if self._heads.get(epoch) == head:
            return
        self._heads[epoch] = head
        self._news.append(head)
        if len(self._heads) > _EPOCHS_MAX:
            eldest = next(iter(self._heads))
            del self._heads[eldest], self._met[eldest]

    def _decision(self, item: Decided, nonce_hash: str) -> lines.DecisionLine:
        decision, snapshot = item.decision, item.snapshot
        unit = self._keys.point(decision.epoch, b"journal unit", item.unit)[:_HASH_BYTES].hex() if item.unit else None
        return lines.DecisionLine(
            time=decision.time_us / 1e6,
            experiment=snapshot.name,
            epoch=_hex(decision.epoch),
            weights_version=decision.weights_version,
            block=decision.block,
            arm=snapshot.arms[decision.arm].name,
            propensity=decision.parts / PARTS,
            propensities=self._met[snapshot.epoch][1][decision.segment],
            mode=decision.mode.name.lower(),
            rows=decision.rows,
            cost_usd=item.cost_pico_usd / 1e12,
            nonce_hash=nonce_hash,
            sample=self._sample,
            segment=decision.segment,
            unit_hash=unit,
        )

    def _reward(self, item: Rewarded, nonce_hash: str) -> lines.RewardLine:
        reward = item.reward
        return lines.RewardLine(
            time=item.now,
            experiment=item.experiment,
            epoch=_hex(reward.cell.epoch),
            nonce_hash=nonce_hash,
            event=reward.event,
            reward=reward.value,
            is_learned="rewards" in reward.fields,
            delay_s=item.delay_s,
            sample=self._sample,
        )


def _shares(names: Sequence[str], parts: Sequence[int]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode({name: part / PARTS for name, part in zip(names, parts, strict=True)}))


def _hex(epoch: int) -> str:
    """Write an epoch as the admin API does; a JSON number would lose its last bits in many readers."""
    return f"{epoch:016x}"
