"""How many calls at a time a replica gets, found by trying: one more is kept only if it brings more rows through. Pure.

A device that runs one batch at a time gains nothing from a longer queue; one that runs four gains until there are five;
where calls take each other's processors, one large call at a time brings most through.
"""

from dataclasses import dataclass, field
from typing import Final

from serving.upstream import Servable

# One call computes while the next is on its way: more than two were never faster on one device (performance.md). It is
# the number to begin with, and the one that is left and come back to by what is said below.
SLOTS_FIRST: Final = 2
# Calls that a number of slots is judged by, all while there was no other slot: rates of so many differ by a few per cent.
_PERIOD: Final = 16
# One slot more must bring so much more through: less is noise, and everybody waits longer for it. So must one in place of
# two, which is no use where little comes: then all of it goes through either way, and who comes second waits for nothing.
_GAIN_MIN: Final = 1.1
# One slot less than three or more may lose this much: for it everybody is answered sooner.
_LOSS_MAX: Final = 0.98
# Two in place of one need hardly be better: an accident may have made one look so.
_BACK_TO_TWO_MIN: Final = 1.02
# Between two trials: a trial that failed cost a few per cent for half a second, so the next ones come ever later.
_PAUSE_FIRST_S: Final = 5.0
_PAUSE_MAX_S: Final = 80.0


@dataclass(frozen=True, slots=True)
class Return:
    """A call that came back. `seconds`: all the time since the one before it did, idle or not.

    `is_busy`: it had taken the last slot; `is_pressed`: requests wait for one.
    """

    servable: Servable
    rows: int
    seconds: float
    is_pressed: bool
    is_busy: bool


@dataclass(slots=True)
class _Period:
    """Calls in a row under one number of slots: rows and seconds of the replica, by servable. Mutable throughout."""

    skip: int = 0  # so many calls to come were sent under the number before
    calls: int = 0
    is_pressed: bool = True  # at the end of each of them requests waited
    sums: dict[Servable, tuple[int, float]] = field(default_factory=dict)

    def add(self, call: Return) -> None:
        rows, seconds = self.sums.get(call.servable, (0, 0.0))
        self.sums[call.servable] = (rows + call.rows, seconds + call.seconds)
        self.calls += 1
        self.is_pressed &= call.is_pressed

    def gain_over(self, base: "_Period") -> float:
        """Return how many times as much went through as in `base`, by the time that `base` took for the same rows."""
        shared = [servable for servable in self.sums if servable in base.sums]
        expected_s = sum(self.sums[one][0] * base.sums[one][1] / base.sums[one][0] for one in shared)
        taken_s = sum(self.sums[one][1] for one in shared)
        return expected_s / taken_s if taken_s else 1.0


class SlotTrials:
    """Mutable: `slots` now, the number that is settled, and the trial of another one."""

    def __init__(self, slots: int, slots_max: int) -> None:
        self.slots = slots
        self._slots_max = slots_max
        self._settled = slots
        self._base: _Period | None = None  # of the settled number, while another is tried
        self._period = _Period(skip=slots)  # nothing came back before the first
        self._is_next_up = True
        self._pause_s = _PAUSE_FIRST_S
        self._next_trial_at = float("-inf")

    @property
    def is_trying_more(self) -> bool:
        """Whether more slots are tried than are settled."""
        return self.slots > self._settled

    def settle(self, slots: int) -> None:
        """Use this number from now on, and judge it anew."""
        self._period = _Period(skip=self.slots)
        self.slots = self._settled = slots
        self._base = None

    def ended(self, call: Return, now: float, slots_max: int) -> None:
        """Judge the number by what goes through while no slot is free, and try its neighbours in turn.

        `slots_max`: more can't be in time now; at least 1.
        """
        if not call.is_pressed and not call.is_busy:
            # With slots to spare nothing can be learned, and a trial that lasts would be no trial.
            if self._base is not None or self._period.calls:
                self.settle(self._settled)
            return
        if self._period.skip:
            self._period.skip -= 1
            return
        self._period.add(call)
        if self._period.calls < _PERIOD:
            return
        if self._base is not None:
            is_kept = self._period.gain_over(self._base) >= self._wanted()
            self._pause_s = _PAUSE_FIRST_S if is_kept else min(2 * self._pause_s, _PAUSE_MAX_S)
            self._next_trial_at = now + self._pause_s
            self.settle(self.slots if is_kept else self._settled)
            return
        tried = self._neighbour(slots_max) if now >= self._next_trial_at else None
        if tried is None:
            self._period = _Period()
            return
        self._base, self._period, self.slots = self._period, _Period(skip=self.slots), tried

    def _wanted(self) -> float:
        """Return how many times as much the number that is tried must bring through."""
        if self.slots == 1:
            return _GAIN_MIN
        if self.slots < self._settled:
            return _LOSS_MAX
        return _BACK_TO_TWO_MIN if self._settled == 1 else _GAIN_MIN

    def _neighbour(self, slots_max: int) -> int | None:
        """Return the number to try next, one more and one less by turns. If nobody waited for a slot, more than two are
        of no use, and less could not be told from what came."""
        self._is_next_up = not self._is_next_up
        if self._settled > slots_max:
            # No more are used than that, and a trial of one less would find no difference.
            return None
        most = min(self._slots_max, slots_max, self._slots_max if self._period.is_pressed else SLOTS_FIRST)
        is_down = self._settled > 1 and (self._period.is_pressed or self._settled == SLOTS_FIRST)
        up, down = self._settled + 1 if self._settled < most else None, self._settled - 1 if is_down else None
        return (up or down) if not self._is_next_up else (down or up)
