"""Which replica answers calls with faults of its own while others of the backend do not: a sliding window. Pure, no clock.

A model that fails fails everywhere, and is a matter of its arm, not of a replica. So a replica is judged against the
others, and the last of them never; and only by what another of them has answered lately: who asks for a model that
nobody has would else choose, by when they ask, which replica's faults they are.
"""

import math
from collections import deque
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

# Faults are looked for in this much of the past.
_WINDOW_S: Final = 10.0
# And in so many calls at most: ten seconds of a fast model would be thousands.
_CALLS_MAX: Final = 256
# Fewer prove nothing. With 8 calls of which half failed, a replica that fails one call in a hundred is out by chance
# once in a million times.
_CALLS_MIN: Final = 8
# Half of the calls: it does more harm than good.
_FAULTS_MIN: Final = 0.5
# The others together must fail less than half as often, or the fault is not the replica's.
_OTHERS_MAX: Final = 0.5
# Of so many things that were asked it is known who answered them; what nobody answers is none of them.
_ASKED_MAX: Final = 1_000


@dataclass(slots=True)
class _Window:
    """Calls of one replica that ended. Mutable: (when, whether it failed, and what another replica had answered), oldest
    first, and how many of them failed, and so."""

    calls: deque[tuple[float, bool, bool]] = field(default_factory=deque)
    faults: int = 0
    own_faults: int = 0

    @property
    def judged(self) -> int:
        """How many calls say something of the replica."""
        return len(self.calls) - self.faults + self.own_faults

    def add(self, now: float, *, is_fault: bool, is_own: bool) -> None:
        self.calls.append((now, is_fault, is_own))
        self.faults += is_fault
        self.own_faults += is_own
        if len(self.calls) > _CALLS_MAX:
            self._drop()

    def forget(self, until: float) -> None:
        while self.calls and self.calls[0][0] <= until:
            self._drop()

    def _drop(self) -> None:
        _, is_fault, is_own = self.calls.popleft()
        self.faults -= is_fault
        self.own_faults -= is_own


class Outliers:
    """The replicas of one backend. Mutable: their windows, by address, and when each answered what was asked, the latest
    last."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}
        self._answered: dict[Hashable, dict[str, float]] = {}

    def ended(self, address: str, now: float, *, is_fault: bool, others: Iterable[str], asked: Hashable = None) -> bool:
        """Take note of a call; whether its replica is to be ejected. `others`: replicas that get calls beside it; `asked`:
        for what."""
        others = [one for one in others if one != address]
        if not is_fault:
            self._note_answer(address, now, asked)
        answered = self._answered.get(asked, {})
        is_own = is_fault and any(answered.get(one, -math.inf) > now - _WINDOW_S for one in others)
        self._windows.setdefault(address, _Window()).add(now, is_fault=is_fault, is_own=is_own)
        if not is_own:
            return False
        for window in self._windows.values():
            window.forget(now - _WINDOW_S)
        own = self._windows[address]
        if own.judged < _CALLS_MIN or own.own_faults < _FAULTS_MIN * own.judged:
            return False
        beside = [self._windows[one] for one in others if one in self._windows]
        calls, faults = sum(len(one.calls) for one in beside), sum(one.faults for one in beside)
        return calls >= _CALLS_MIN and faults / calls < _OTHERS_MAX * own.own_faults / own.judged

    def _note_answer(self, address: str, now: float, asked: Hashable) -> None:
        answered = self._answered.pop(asked, {})
        answered[address] = now
        self._answered[asked] = answered
        if len(self._answered) > _ASKED_MAX:
            del self._answered[next(iter(self._answered))]

    def forget(self, address: str) -> None:
        """Begin anew with a replica: it was ejected, or is gone."""
        self._windows.pop(address, None)
        for answered in self._answered.values():
            answered.pop(address, None)

    def keep(self, addresses: Mapping[str, object]) -> None:
        """Forget all others."""
        for address in self._windows.keys() - addresses.keys():
            self.forget(address)
