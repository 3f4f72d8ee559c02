"""What must hold at every moment of a simulated world, and at its end; the first that does not is raised as `Broken`."""

import asyncio
import hashlib
from collections import Counter
from typing import Any, Final

import msgspec

from bandits.sums import quantise
from router import snapshot
from router.control.dossier import dossier_of
from router.decisions import Decision
from router.snapshot import PARTS
from router.store import Cell
from router.store.memory import MemoryStore
from tests.simulation.door import Door
from tests.simulation.worker import Worker

# Calls that carry a fence, and where it stands among their arguments.
_FENCED: Final = {
    "save_experiment": 3,
    "remove_experiment": 2,
    "save_backend": 3,
    "save_deployment": 3,
    "save_price": 3,
    "save_bill": 3,
    "publish": 3,
}
# A leader can't know of a reward that was spooled just now: the heartbeat that says so takes so long.
_HEARD_S: Final = 2.0
_OVER: Final = ("standby", "retired")
Pair = tuple[bytes, str]


class Broken(AssertionError):
    """A law does not hold."""


class Laws:
    """Watches a world. Mutable: the first law that was broken, the trace, who wrote with which fence, the last snapshots, and what clients were told."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.broken = ""
        self._trace = hashlib.sha256()
        self.lines = 0
        self._leader_of: dict[int, str] = {}
        self._last_fence = 0
        self._published: dict[str, tuple[int, bytes]] = {}
        self._states: dict[str, tuple[str, ...]] = {}
        self._installed: dict[tuple[str, int], int] = {}
        # Rewards by their pair: the decision, the values that were sent, whether one was acknowledged.
        self.sent: dict[Pair, tuple[Decision, set[float]]] = {}
        self.acknowledged: dict[Pair, set[float]] = {}
        # When those were acknowledged that may wait in a spool; and which of them had waited when a leader last asked.
        self.spooled: dict[Pair, float] = {}
        self._waited: dict[str, set[Pair]] = {}
        self.begun = self.ended = 0
        self.counts: Counter[str] = Counter()

    @property
    def trace(self) -> str:
        """A digest of all that has happened, in its order."""
        return self._trace.hexdigest()

    def broken_by(self, how: str) -> Broken:
        """Return what to raise. It is remembered, too: a leader goes on after whatever its turn meets."""
        self.broken = self.broken or how
        return Broken(how)

    def check(self) -> None:
        """Raise what was broken so far."""
        if self.broken:
            raise Broken(self.broken)

    def note(self, *facts: object) -> None:
        """Add to the trace."""
        self.lines += 1
        self._trace.update(repr(facts).encode())

    def done(self, door: Door, name: str, args: tuple[Any, ...], found: Any) -> None:
        """The store has done a call."""
        self.note(door.name, name, args, found)
        if name in _FENCED and args[_FENCED[name]] is not None:
            self._wrote(door.name, args[_FENCED[name]])
        if name == "publish":
            self._publish(args[0], args[1], args[2])
        elif name == "save_experiment":
            self._save(door.name, args[0], args[1])
        elif name == "heartbeats":
            self._waited[door.name] = self._waiting(_HEARD_S)

    def _wrote(self, who: str, fence: int) -> None:
        leader = self._leader_of.setdefault(fence, who)
        if leader != who:
            raise self.broken_by(f"{who} wrote with fence {fence}, which is {leader}'s")
        if fence < self._last_fence:
            raise self.broken_by(f"{who} wrote with fence {fence} after one with {self._last_fence}")
        self._last_fence = fence

    def _publish(self, name: str, version: int, raw: bytes) -> None:
        last, before = self._published.get(name, (0, b""))
        if version < last or (version == last and raw != before):
            raise self.broken_by(f"snapshot {version} of {name} was published after {last}, or is another one")
        self._published[name] = (version, raw)
        made = snapshot.decode(raw)
        for parts in ([arm.parts for arm in made.arms], *(one.parts for one in made.segments)):
            if sum(parts) != PARTS or min(parts) < 0:
                raise self.broken_by(f"the weights of snapshot {version} are {parts}")
        self.counts["snapshots"] += 1

    def _save(self, who: str, name: str, raw: bytes) -> None:
        life = dossier_of(name, 1, raw).life
        states = tuple(arm.state for arm in life.arms)
        before = self._states.get(name, states)
        self._states[name] = states
        self.counts["retired"] += any(state in _OVER for state in states) and not any(one in _OVER for one in before)
        # What is decided then is only carried out by what follows.
        if not any(now == "draining" != was for was, now in zip(before, states, strict=True)):
            return
        if waiting := self._waited.get(who, set()) & self.spooled.keys():
            raise self.broken_by(f"{name} is {life.phase}, arms {states}: {len(waiting)} rewards wait in a spool")

    def _waiting(self, seconds: float) -> set[Pair]:
        """Rewards that were acknowledged from a spool so long ago, and that the store has not."""
        for key in self.spooled.keys() & self._store._known.keys():
            del self.spooled[key]
        now = asyncio.get_running_loop().time()
        return {key for key, at in self.spooled.items() if at <= now - seconds}

    def acts_by(self, worker: Worker) -> None:
        """A worker has looked at the snapshots."""
        for live in worker.routes.by_model.values():
            key = (worker.name, live.snapshot.epoch)
            if live.snapshot.version < self._installed.get(key, 0):
                raise self.broken_by(f"{worker.name} went back to snapshot {live.snapshot.version}")
            self._installed[key] = live.snapshot.version

    def at_the_end(self, workers: list[Worker], elsewhere: Counter[tuple[Cell, str]]) -> None:
        """Nothing is under way any more, and all that waited had time to go."""
        self.check()
        if self.begun != self.ended:
            raise self.broken_by(f"{self.begun} requests were begun, and {self.ended} ended")
        known = {key: value for key, value in self._store._known.items() if key[1]}
        if lost := self.acknowledged.keys() - known.keys():
            raise self.broken_by(f"{len(lost)} acknowledged rewards are not counted")
        if strange := known.keys() - self.sent.keys():
            raise self.broken_by(f"{len(strange)} rewards are counted that nobody sent")
        wanted: Counter[tuple[Cell, str]] = Counter()
        for key, value in known.items():
            decision, values = self.sent[key]
            if value not in values:
                raise self.broken_by(f"a reward of {value} is counted where {values} were sent")
            told = self.acknowledged.get(key, {value})
            if value not in told:
                raise self.broken_by(f"{told} were acknowledged, {value} is counted")
            wanted[decision.cell, "all_rewards"] += 1
            wanted[decision.cell, "all_reward_q"] += quantise(value, 0.0, 1.0)
            wanted[decision.cell, "learned"] += decision.is_learned
        self._same_sums(wanted, workers, elsewhere)

    def _same_sums(
        self, wanted: Counter[tuple[Cell, str]], workers: list[Worker], elsewhere: Counter[tuple[Cell, str]]
    ) -> None:
        """The store holds, to the integer, what was acknowledged and what was flushed."""
        for worker in workers:
            sequence, *_ = self._store._gateways.get(worker.name, (0, 0.0, b""))
            wanted.update(worker.ledger.added)
            wanted.subtract(worker.ledger.unsent(sequence))
        found: Counter[tuple[Cell, str]] = Counter()
        for cell, row in self._store._totals.items():
            fields = dict(zip(snapshot_fields(), row, strict=True))
            for name, number in fields.items():
                if number:
                    found[cell, name] += number
        found.subtract(elsewhere)
        for (cell, name), number in list(found.items()):
            if name in ("rewards", "unlearned_rewards"):
                found[cell, "all_rewards"] += number
            if name in ("reward_q", "unlearned_reward_q"):
                found[cell, "all_reward_q"] += number
        self.counts["rewards"] = sum(number for (_, name), number in found.items() if name == "all_rewards")
        for key in wanted.keys() | found.keys():
            # Learned rewards of sticky experiments are those of trials: the store says which.
            if key[1] in _SHOWN and wanted[key] != found[key]:
                raise self.broken_by(f"{key[1]} of {key[0]}: the store has {found[key]}, wanted are {wanted[key]}")


_SHOWN: Final = (
    "all_rewards",
    "all_reward_q",
    "unlearned_decisions",
    "rows",
    "errors",
    "calls",
    "failed_calls",
    "assigned",
)


def snapshot_fields() -> tuple[str, ...]:
    """The fields of a cell."""
    from router.store import FIELDS

    return FIELDS


def pair_of(decision: Decision) -> Pair:
    """What a reward of a decision is counted once by."""
    return (decision.nonce, "default")


def words(outcome: object) -> str:
    """An outcome as the trace has it."""
    return repr(msgspec.to_builtins(outcome)) if isinstance(outcome, msgspec.Struct) else repr(outcome)
