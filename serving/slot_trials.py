"""How many calls at a time a replica gets, found by trying: one more is kept only if it brings more rows through. Pure.

A device that runs one batch at a time gains nothing from a longer queue; one that runs four gains until there are five.
"""

from dataclasses import dataclass, field
from typing import Final

from serving.upstream import Servable

# One call computes while the next is on its way: more than two were never faster on one device (performance.md).
SLOTS_FIRST: Final = 2
# Calls that a number of slots is judged by, all while others waited: rates of so many differ by a few per cent.
_PERIOD: Final = 16
# One slot more must bring so much more through: less is noise, and everybody waits longer for it.
_GAIN_MIN: Final = 1.1
# One slot less may lose this much: for it everybody is answered sooner.
_LOSS_MAX: Final = 0.98
# Between two trials: a trial that failed cost a few per cent for half a second, so the next ones come ever later.
_PAUSE_FIRST_S: Final = 5.0
_PAUSE_MAX_S: Final = 80.0


@dataclass(slots=True)
class _Period:
    """Calls in a row under one number of slots: rows and seconds of the replica, by servable. Mutable throughout."""

    skip: int = 0  # so many calls to come were sent under the number before
    calls: int = 0
    sums: dict[Servable, tuple[int, float]] = field(default_factory=dict)

    def add(self, servable: Servable, rows: int, seconds: float) -> None:
        rows_before, seconds_before = self.sums.get(servable, (0, 0.0))
        self.sums[servable] = (rows_before + rows, seconds_before + seconds)
        self.calls += 1

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
        self._period = _Period()
        self._is_next_up = True
        self._pause_s = _PAUSE_FIRST_S
        self._next_trial_at = float("-inf")

    def settle(self, slots: int) -> None:
        """Use this number from now on, and judge it anew."""
        self._period = _Period(skip=self.slots)
        self.slots = self._settled = slots
        self._base = None

    def ended(self, servable: Servable, rows: int, seconds: float, now: float, *, is_pressed: bool) -> None:
        """Judge the number by what goes through while requests wait, and try its neighbours in turn.

        `seconds`: those of the replica, from when the call before came back; `is_pressed` if requests wait for a slot.
        """
        if not is_pressed:
            # Without a queue nothing can be learned, and a trial that lasts would be no trial.
            if self._base is not None or self._period.calls:
                self.settle(self._settled)
            return
        if self._period.skip:
            self._period.skip -= 1
            return
        self._period.add(servable, rows, seconds)
        if self._period.calls < _PERIOD:
            return
        if self._base is not None:
            gain = self._period.gain_over(self._base)
            is_kept = gain >= (_GAIN_MIN if self.slots > self._settled else _LOSS_MAX)
            self._pause_s = _PAUSE_FIRST_S if is_kept else min(2 * self._pause_s, _PAUSE_MAX_S)
            self._next_trial_at = now + self._pause_s
            self.settle(self.slots if is_kept else self._settled)
            return
        tried = self._neighbour()
        if tried is None or now < self._next_trial_at:
            self._period = _Period()
            return
        self._base, self._period, self.slots = self._period, _Period(skip=self.slots), tried

    def _neighbour(self) -> int | None:
        """Return the number to try next, one more and one less by turns; never less than two, where that is allowed."""
        self._is_next_up = not self._is_next_up
        up = self._settled + 1 if self._settled < self._slots_max else None
        down = self._settled - 1 if self._settled > SLOTS_FIRST else None
        return (up or down) if not self._is_next_up else (down or up)
