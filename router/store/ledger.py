"""The rules by which every store adds, dedupes and fences: pure functions over what a store has read.

A store reads what the rule needs, asks the rule, and writes what it answers, all in one transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from router.store.contract import (
    FIELDS,
    INT64_MAX,
    INT64_MIN,
    Cell,
    CounterOverflow,
    Fenced,
    Fields,
    RevisionConflict,
    Reward,
    RewardResult,
)

Totals = dict[Cell, list[int]]
"""The sums of some cells, each in the order of FIELDS."""

Key = tuple[bytes, str]
"""What a reward is counted once per: (nonce, event)."""

_POSITION = {name: position for position, name in enumerate(FIELDS)}


@dataclass(frozen=True, slots=True)
class Counted:
    """What counting a call's rewards comes to: a result for each, the pairs to remember, the cells' new sums."""

    results: list[RewardResult]
    fresh: dict[Key, Reward]
    totals: Totals


def count_rewards(rewards: Sequence[Reward], known: Mapping[Key, float], totals: Mapping[Cell, list[int]]) -> Counted:
    """Decide about each reward, in order, given the values counted before and the sums so far (absent: zero).

    Raises CounterOverflow; neither argument is changed.
    """
    results: list[RewardResult] = []
    fresh: dict[Key, Reward] = {}
    for reward in rewards:
        key = (reward.nonce, reward.event)
        first = fresh.get(key)
        value = known.get(key) if first is None else float(first.value)
        if value is None:
            fresh[key] = reward
            results.append(RewardResult.RECORDED)
        else:
            results.append(RewardResult.DUPLICATE if value == float(reward.value) else RewardResult.CONFLICT)
    return Counted(results, fresh, add(((reward.cell, reward.fields) for reward in fresh.values()), totals))


def add(additions: Iterable[tuple[Cell, Fields]], totals: Mapping[Cell, list[int]]) -> Totals:
    """Return the new sums of the cells that change. Raises CounterOverflow when one leaves the 64-bit integers."""
    changed: Totals = {}
    for cell, fields in additions:
        row = changed.get(cell)
        for name, number in fields.items():
            if number == 0:
                continue
            if row is None:
                row = changed[cell] = list(totals.get(cell) or (0,) * len(FIELDS))
            row[_POSITION[name]] += number
    for cell, row in changed.items():
        for name, number in zip(FIELDS, row, strict=True):
            if not INT64_MIN <= number <= INT64_MAX:
                raise CounterOverflow(f"{name} of {cell} would become {number}, beyond 64 bits; nothing was added")
    return changed


@dataclass(frozen=True, slots=True)
class Lease:
    """Who leads (None: nobody), in which epoch, and until when (unix seconds)."""

    holder: str | None = None
    epoch: int = 0
    expires_at: float = 0.0


def take_lease(lease: Lease, owner: str, now: float, ttl_s: float) -> Lease | None:
    """Return the lease as `owner` holds it from now on, or None while another owner's runs.

    One that ends much later than any that is taken now was taken by a clock that has been set back since, and is over.
    """
    if lease.holder == owner:
        return Lease(owner, lease.epoch, now + ttl_s)
    # Twice as late: calls wait for each other, so a holder's `now` may be later than that of who comes after it.
    if lease.holder is not None and now < lease.expires_at <= now + 2 * ttl_s:
        return None
    return Lease(owner, lease.epoch + 1, now + ttl_s)


def check_fence(fence: int, epoch: int) -> None:
    """Raise Fenced unless `fence` is the epoch of the lease: an older one is a deposed leader's.

    A newer one means that the store has lost what it held, and nobody may write as if it had not.
    """
    if fence < epoch:
        raise Fenced(f"the lease is in epoch {epoch}, this write came with epoch {fence}: another process leads now")
    if fence > epoch:
        raise Fenced(f"this write came with epoch {fence}, but the store knows only {epoch}: it was reset or restored")


def check_revision(name: str, expected: int, revision: int) -> None:
    """Raise RevisionConflict unless a document is at the revision its writer had read (0: it does not exist)."""
    if expected != revision:
        raise RevisionConflict(f"{name} is at revision {revision}, the change was made to {expected}")


def check_version(name: str, version: int, current: int | None) -> None:
    """Raise RevisionConflict if a later snapshot than `version` is out; the same one may be published again."""
    if current is not None and version < current:
        raise RevisionConflict(f"snapshot {current} of experiment {name} is out, {version} came too late")


def page(found: Sequence[tuple[int, bytes]], limit: int) -> tuple[list[bytes], int | None]:
    """Return the entries of a page, and where the one before it ends; `found` are numbered, one more than the page may
    have if there are more."""
    shown = found[-limit:] if limit > 0 else ()
    return [entry for _, entry in shown], shown[0][0] if shown and len(found) > len(shown) else None
