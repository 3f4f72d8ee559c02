"""Which replica answers calls with faults of its own while others of the backend do not: a sliding window. Pure, no clock.

A model that fails fails everywhere, and is a matter of its arm, not of a replica. So a replica is judged against the
others, and the last of them never.
"""

from collections import deque
from collections.abc import Iterable, Mapping
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


@dataclass(slots=True)
class _Window:
    """Calls of one replica that ended. Mutable: (when, whether it failed), oldest first, and how many of them failed."""

    calls: deque[tuple[float, bool]] = field(default_factory=deque)
    faults: int = 0

    def add(self, now: float, *, is_fault: bool) -> None:
        self.calls.append((now, is_fault))
        self.faults += is_fault
        if len(self.calls) > _CALLS_MAX:
            self._drop()

    def forget(self, until: float) -> None:
        while self.calls and self.calls[0][0] <= until:
            self._drop()

    def _drop(self) -> None:
        self.faults -= self.calls.popleft()[1]


class Outliers:
    """The replicas of one backend. Mutable: their windows, by address."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}

    def ended(self, address: str, now: float, *, is_fault: bool, others: Iterable[str]) -> bool:
        """Take note of a call; whether its replica is to be ejected. `others`: replicas that get calls beside it."""
        self._windows.setdefault(address, _Window()).add(now, is_fault=is_fault)
        if not is_fault:
            return False
        for window in self._windows.values():
            window.forget(now - _WINDOW_S)
        own = self._windows[address]
        if len(own.calls) < _CALLS_MIN or own.faults < _FAULTS_MIN * len(own.calls):
            return False
        beside = [self._windows[one] for one in others if one != address and one in self._windows]
        calls, faults = sum(len(one.calls) for one in beside), sum(one.faults for one in beside)
        return calls >= _CALLS_MIN and faults / calls < _OTHERS_MAX * own.faults / len(own.calls)

    def forget(self, address: str) -> None:
        """Begin anew with a replica: it was ejected, or is gone."""
        self._windows.pop(address, None)

    def keep(self, addresses: Mapping[str, object]) -> None:
        """Forget all others."""
        for address in self._windows.keys() - addresses.keys():
            del self._windows[address]
