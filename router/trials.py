"""What counts in a sticky experiment: each unit once, with the first of its decisions that the store hears of.

A unit is what was randomised, and its requests are no trials of their own (bandit-science.md, Part I §M). The first
decision of a unit carries its trial; its later ones are served alike and not learned from. Which decision that was is
settled by the store: the unit's tag is counted once, with the mark of one decision. So that it is exact whatever worker
a unit comes to, and after any crash. A decision's nonce is its mark (8 bytes) and its unit's tag (8 bytes).
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from router.decisions import Decision, Keyring
from router.snapshot import Snapshot
from router.spool.entries import SPOOL_AGE_S
from router.store import Cell, Reward, RewardResult

TAG_BYTES: Final = 8
# Clients' events have at least one character, so that none can be taken for a trial.
_EVENT: Final = ""
# Units a worker remembers; for one it has forgotten it asks the store once more. 20 MB.
_UNITS_MAX: Final = 100_000
# Trials that wait for the store. While it is away longer, units count with a later decision.
_WAITING_MAX: Final = 10_000
_PARCEL_MAX: Final = 1_000
# A double holds so many bits of a mark exactly.
_MARK_BITS: Final = 53
# Clocks of gateways may differ; a tag must outlive the tokens that carry it.
_SKEW_S: Final = 300.0


def tag_of(keys: Keyring, snapshot: Snapshot, unit: bytes, now: float) -> bytes:
    """Return the unit's tag: the same on every gateway, in this epoch, and while units count once (see `Snapshot`)."""
    period = int(now / snapshot.unit_memory_s) if snapshot.units_return else 0
    return keys.point(snapshot.epoch, b"trial", period.to_bytes(8) + unit)[:TAG_BYTES]


def trial_of(decision: Decision, snapshot: Snapshot) -> Reward:
    """Return the claim, in the store's terms, that this decision is its unit's trial: if it is new it counts one."""
    return Reward(
        cell=decision.cell,
        nonce=decision.nonce[-TAG_BYTES:] * 2,
        event=_EVENT,
        value=float(int.from_bytes(decision.nonce[:-TAG_BYTES]) >> (64 - _MARK_BITS)),
        fields={"decisions": 1},
        expires_at=int(
            decision.time_us * 1e-6 + snapshot.unit_memory_s + 2 * snapshot.window_s + _SKEW_S + SPOOL_AGE_S
        ),
    )


class Trials:
    """The trials of one worker. Mutable: the units it has seen of late, and the trials the store has not heard of."""

    def __init__(self, *, units_max: int = _UNITS_MAX, waiting_max: int = _WAITING_MAX) -> None:
        """Remember at most so many units and let at most so many trials wait."""
        self._units_max = units_max
        self._waiting_max = waiting_max
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._waiting: list[Reward] = []

    def is_new(self, tag: bytes) -> bool:
        """Say whether a decision for this unit may be its trial, as far as this worker knows."""
        return tag not in self._seen and len(self._waiting) < self._waiting_max

    def begin(self, trial: Reward) -> None:
        """Have a decision that was answered counted as its unit's trial."""
        self._seen[trial.nonce[:TAG_BYTES]] = None
        if len(self._seen) > self._units_max:
            self._seen.popitem(last=False)
        self._waiting.append(trial)

    def waiting(self) -> list[Reward]:
        """Return the oldest trials that the store has not heard of, no more than one call should carry."""
        return self._waiting[:_PARCEL_MAX]

    def settle(self, sent: Sequence[Reward], results: Sequence[RewardResult]) -> list[Cell]:
        """Forget what the store has heard of; return the cells of those decisions whose unit had its trial elsewhere."""
        del self._waiting[: len(sent)]
        return [trial.cell for trial, result in zip(sent, results, strict=True) if result is RewardResult.CONFLICT]
