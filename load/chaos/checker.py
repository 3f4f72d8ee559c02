"""Whether a store counts what was acknowledged, once: expected sums from the clients' books, held against the store's.

Exactly once: what was acknowledged counts once, what was refused not at all, what had no answer not at all or once.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from load.chaos.books import Line, Outcome, read_token
from router.store import Store

LEARNED_EVENT: Final = "default"


class Key(NamedTuple):
    """Where rewards are counted: experiment's epoch, arm, and whether their decisions are learned from."""

    epoch: int
    arm: int
    is_learned: bool


class Sums(NamedTuple):
    """How many rewards, and their sum in parts of 2^-16."""

    rewards: int = 0
    steps: int = 0

    def plus(self, steps: int) -> "Sums":
        """Return it with one more."""
        return Sums(self.rewards + 1, self.steps + steps)


class Owed(NamedTuple):
    """What must be counted, and what may be."""

    least: dict[Key, Sums]
    most: dict[Key, Sums]


class Verdict(NamedTuple):
    """What was found: rewards acknowledged, open and refused, and counted in the store; how many are missing and how many
    too many, over all keys; and each difference in words."""

    acknowledged: int
    open: int
    refused: int
    counted: int
    lost: int
    double: int
    differences: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether each reward counts as often as it may."""
        return not self.differences


def settled(lines: Iterable[Line]) -> dict[tuple[str, str, int], Outcome]:
    """Say what became of each reward in the end: an acknowledgement tells all, a refusal only that nothing else came."""
    rank: dict[Outcome, int] = {"refused": 0, "open": 1, "acknowledged": 2}
    found: dict[tuple[str, str, int], Outcome] = {}
    for line in lines:
        before = found.get(line.what, "refused")
        found[line.what] = max(before, line.outcome, key=rank.__getitem__)
    return found


def owed(outcomes: Mapping[tuple[str, str, int], Outcome]) -> Owed:
    """Return the sums that must be in the store, and those that may be."""
    least: dict[Key, Sums] = {}
    most: dict[Key, Sums] = {}
    for (decision, event, steps), outcome in outcomes.items():
        if outcome == "refused":
            continue
        token = read_token(decision)
        key = Key(token.epoch, token.arm, token.is_learned and event == LEARNED_EVENT)
        most[key] = most.get(key, Sums()).plus(steps)
        if outcome == "acknowledged":
            least[key] = least.get(key, Sums()).plus(steps)
    return Owed(least, most)


def judge(lines: Iterable[Line], counted: Mapping[Key, Sums]) -> Verdict:
    """Compare what clients wrote down with what a store counts."""
    outcomes = settled(lines)
    least, most = owed(outcomes)
    differences = []
    lost = double = 0
    for key in sorted({*least, *most, *counted}):
        low, high, found = least.get(key, Sums()), most.get(key, Sums()), counted.get(key, Sums())
        lost += max(0, low.rewards - found.rewards)
        double += max(0, found.rewards - high.rewards)
        is_within = low.rewards <= found.rewards <= high.rewards and low.steps <= found.steps <= high.steps
        # Where no reward is open, one lost and one counted twice must not pass for none.
        if not is_within:
            differences.append(f"{key}: counted {found}, acknowledged {low}, with what is open {high}")
    values = list(outcomes.values())
    return Verdict(
        acknowledged=values.count("acknowledged"),
        open=values.count("open"),
        refused=values.count("refused"),
        counted=sum(found.rewards for found in counted.values()),
        lost=lost,
        double=double,
        differences=tuple(differences),
    )


async def counted_in(store: Store, epochs: Iterable[int]) -> dict[Key, Sums]:
    """Read a store's sums, over all blocks."""
    found: dict[Key, Sums] = {}
    for epoch in epochs:
        for (arm, _), cell in (await store.sums(epoch)).items():
            for is_learned, prefix in ((True, ""), (False, "unlearned_")):
                rewards, steps = cell[f"{prefix}rewards"], cell[f"{prefix}reward_q"]
                if rewards or steps:
                    before = found.get(Key(epoch, arm, is_learned), Sums())
                    found[Key(epoch, arm, is_learned)] = Sums(before.rewards + rewards, before.steps + steps)
    return found
