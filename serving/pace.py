"""How many calls one replica bears at a time, and how many rows each: learned from the calls that ended. Pure, no clock.

Rows follow `latency_s` by additive increase and multiplicative decrease, for each servable. Slots are tried: one more is
kept only if it brings more rows through, for a device that runs one batch at a time gains nothing from a longer queue.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from serving.upstream import Servable

# A batch that was late is followed by smaller ones: by a third, so that two cuts halve it.
_CUT: Final = 0.7
# Two of the last three must be late: one is an accident of the machine or the network.
_LATE_OF: Final = 3
# Full batches in time let the next have this share of the bound more: from nothing to all of it in 32 calls.
_STEP: Final = 1 / 32
# A call weighs half as much after 11 more: of a doubled latency the line knows within a second at 30 ms a call.
_FORGET: Final = 15 / 16
# A call counts for three times what was expected at most, so that one stall does not look like a slow device; a device
# that is ten times slower is known three calls later. Below 5 ms everything is noise.
_SURPRISE_MAX: Final = 3.0
_SURPRISE_FREE_S: Final = 0.005
# What calls took lately; the fastest says what nobody can beat.
_TIMES_KEPT: Final = 16
# Without a call in this time nothing is known, and the next request is let through to find out.
_STALE_S: Final = 1.0
# One call computes while the next is on its way: more than two were never faster on one device (performance.md).
_SLOTS_FIRST: Final = 2
# Calls that a number of slots is judged by, all while others waited: rates of so many differ by a few per cent.
_PERIOD: Final = 16
# One slot more must bring so much more through: less is noise, and everybody waits longer for it.
_GAIN_MIN: Final = 1.1
# One slot less may lose this much: for it everybody is answered sooner.
_LOSS_MAX: Final = 0.98
# Of the wished latency a quarter is kept for the way and for calls that take longer than most.
_WAIT_SHARE: Final = 0.75
# In an overload batches are kept small so that all are in time, but not so small that much is lost.
_GOODPUT_MIN: Final = 0.9
# Between two trials: a trial that failed cost a few per cent for half a second, so the next ones come ever later.
_PAUSE_FIRST_S: Final = 5.0
_PAUSE_MAX_S: Final = 80.0
# Lines of so many servables are kept, as many as an experiment may have arms.
_SERVABLES_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class PaceLimits:
    """Between what a replica's pace is learned. `latency_s`: what a call should take at most, None to learn nothing."""

    max_rows: int
    max_in_flight: int
    latency_s: float | None = None
    is_in_flight_learned: bool = False


class Line:
    """The seconds of a call by its rows, `a + b·rows`, a and b >= 0: least squares in which the past fades. Mutable."""

    __slots__ = ("_b", "_n", "_x", "_xx", "_xy", "_y")

    def __init__(self) -> None:
        self._n = self._x = self._y = self._xx = self._xy = 0.0
        self._b: float | None = None

    def add(self, rows: int, seconds: float) -> None:
        """Take note of a call."""
        self._n = self._n * _FORGET + 1.0
        self._x = self._x * _FORGET + rows
        self._y = self._y * _FORGET + seconds
        self._xx = self._xx * _FORGET + rows * rows
        self._xy = self._xy * _FORGET + rows * seconds
        spread = self._n * self._xx - self._x * self._x
        # Sizes that hardly differ say nothing of the slope: it stays, as far as the mean allows.
        if spread > 0.01 * self._x * self._x:
            self._b = (self._n * self._xy - self._x * self._y) / spread
        if self._b is not None:
            self._b = min(max(0.0, self._b), self._y / self._x)

    @property
    def is_known(self) -> bool:
        """Whether sizes have differed, so that what a call costs is told from what a row does."""
        return self._b is not None

    def seconds(self, rows: float) -> float:
        """Say what a call of so many rows takes; 0 while nothing is known."""
        if not self._n:
            return 0.0
        # Before sizes have differed, half is taken to be the call's and half the rows'.
        b = self._y / self._x / 2 if self._b is None else self._b
        return max(0.0, (self._y - b * self._x) / self._n) + b * rows


@dataclass(slots=True)
class _Served:
    """One servable on this replica. Mutable throughout."""

    rows_max: float
    line: Line = field(default_factory=Line)
    times_s: deque[float] = field(default_factory=lambda: deque(maxlen=_TIMES_KEPT))
    ended_at: float = float("-inf")
    cut_ns: int = 0  # calls that began before were sent under a limit that is gone

    def likely_s(self, rows: int) -> float:
        """Return as much as a call may count for: a stall is no change, and a change of more counts a few calls later."""
        return max(_SURPRISE_FREE_S, _SURPRISE_MAX * self.line.seconds(rows)) if self.times_s else math.inf


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


class Pace:
    """What one replica bears. Mutable: `slots` now, what is known of each servable, and the trial of another number."""

    def __init__(self, limits: PaceLimits) -> None:
        self._limits = limits
        self.slots = min(_SLOTS_FIRST, limits.max_in_flight) if limits.is_in_flight_learned else limits.max_in_flight
        self._served: dict[Servable, _Served] = {}
        self._ended_ns = 0
        self._settled = self.slots
        self._base: _Period | None = None  # of the settled number, while another is tried
        self._period = _Period()
        self._is_next_up = True
        self._pause_s = _PAUSE_FIRST_S
        self._next_trial_at = float("-inf")

    @property
    def servables(self) -> tuple[Servable, ...]:
        """Those that something is known of."""
        return tuple(self._served)

    def rows_max(self, servable: Servable) -> int:
        """Return how many rows a batch may have."""
        served = self._served.get(servable)
        return self._limits.max_rows if served is None else int(served.rows_max)

    def seconds(self, servable: Servable, rows: int) -> float:
        """Say how long such a call keeps the replica; 0 while nothing is known."""
        served = self._served.get(servable)
        return 0.0 if served is None else served.line.seconds(rows)

    def queue_rows(self, servable: Servable) -> float:
        """Return how many rows may wait here, all of this servable, to be answered within `latency_s`, behind full slots;
        but enough for batches that bring nearly as much through as full ones. Infinite while nothing is known."""
        served = self._served.get(servable)
        if served is None or self._limits.latency_s is None or not served.line.is_known:
            return math.inf
        wished_s = _WAIT_SHARE * self._limits.latency_s
        batches = int(wished_s / max(1e-9, served.line.seconds(served.rows_max))) - self.slots
        if batches >= 1:
            return batches * served.rows_max
        # Not even one full batch: as large a one as has the time of all before it and its own.
        alone_s = served.line.seconds(0)
        row_s = max(1e-9, served.line.seconds(1) - alone_s)
        rows = (wished_s / (self.slots + 1) - alone_s) / row_s
        per_second = _GOODPUT_MIN * served.rows_max / (alone_s + row_s * served.rows_max)
        return min(max(1.0, rows, per_second * alone_s / (1 - per_second * row_s)), served.rows_max)

    def answer_s(self, servable: Servable) -> float:
        """Say how long a full batch takes behind full slots, which nobody can be spared."""
        served = self._served.get(servable)
        return 0.0 if served is None else (self.slots + 1) * served.line.seconds(served.rows_max)

    def fastest_s(self, servable: Servable, now: float) -> float:
        """Return what the fastest of the last calls took, from sent to answered; 0 while nothing fresh is known."""
        served = self._served.get(servable)
        if served is None or now - served.ended_at > _STALE_S:
            return 0.0
        return min(served.times_s)

    def ended(
        self, servable: Servable, rows: int, began_ns: int, ended_ns: int, now: float, *, is_pressed: bool
    ) -> None:
        """Take note of a call that was answered: `rows` as sent; `is_pressed` if requests wait for a slot.

        `began_ns` and `ended_ns` are of one clock, which need not be that of `now`.
        """
        if self._limits.latency_s is None:
            return
        # Calls overlap, the device serves one after the other: each is charged from when the one before it came back.
        seconds = (ended_ns - max(began_ns, self._ended_ns)) / 1e9
        self._ended_ns = max(ended_ns, self._ended_ns)
        served = self._known(servable)
        served.line.add(rows, max(0.0, min(seconds, served.likely_s(rows))))
        served.times_s.append((ended_ns - began_ns) / 1e9)
        served.ended_at = now
        self._adapt_rows(served, rows, began_ns, ended_ns)
        if self._limits.is_in_flight_learned:
            self._fit_slots(served)
            self._try_slots(servable, rows, max(0.0, seconds), now, is_pressed=is_pressed)

    def _known(self, servable: Servable) -> _Served:
        """Find a servable, as the one used last, and forget the one used longest ago when there are too many."""
        served = self._served.pop(servable, None) or _Served(float(self._limits.max_rows))
        self._served[servable] = served
        if len(self._served) > _SERVABLES_MAX:
            del self._served[next(iter(self._served))]
        return served

    def _target_s(self, served: _Served) -> float:
        """Return what a call may take. Where even a single row takes longer than is wished, small batches would only
        lose throughput: there a batch may take twice what a row does."""
        assert self._limits.latency_s is not None  # noqa: S101 the caller has looked
        alone_s = self.slots * served.line.seconds(1) if served.line.is_known else 0.0
        return self._limits.latency_s if alone_s <= 0.9 * self._limits.latency_s else 2 * alone_s

    def _adapt_rows(self, served: _Served, rows: int, began_ns: int, ended_ns: int) -> None:
        target_s = self._target_s(served)
        is_late = (ended_ns - began_ns) / 1e9 > target_s
        if is_late and sum(seconds > target_s for seconds in list(served.times_s)[-_LATE_OF:]) >= 2:
            # One cut for all that were under way together. Of one row there is nothing to cut.
            if began_ns >= served.cut_ns and rows > 1:
                served.rows_max = max(1.0, min(served.rows_max, rows) * _CUT)
                served.cut_ns = ended_ns
        elif not is_late and rows >= 0.9 * served.rows_max:
            more = min(float(self._limits.max_rows), served.rows_max + max(1.0, _STEP * self._limits.max_rows))
            # Where the line says that more would be late, it is not tried: each try costs a late batch and a cut.
            if self.slots * served.line.seconds(more) <= target_s:
                served.rows_max = more

    def _fit_slots(self, served: _Served) -> None:
        """Fall back to one call at a time where two can't be in time, and to two when they can again."""
        assert self._limits.latency_s is not None  # noqa: S101 the caller has looked
        if not served.line.is_known:
            return
        if self.slots > 1 and self.slots * served.line.seconds(1) > 0.9 * self._limits.latency_s:
            self._settle(max(1, self.slots // 2))
        elif (
            self.slots == 1 < self._limits.max_in_flight
            and _SLOTS_FIRST * served.line.seconds(1) <= 0.7 * self._limits.latency_s
        ):
            self._settle(_SLOTS_FIRST)

    def _settle(self, slots: int) -> None:
        """Use this number from now on, and judge it anew."""
        self._period = _Period(skip=self.slots)
        self.slots = self._settled = slots
        self._base = None

    def _try_slots(self, servable: Servable, rows: int, seconds: float, now: float, *, is_pressed: bool) -> None:
        """Judge the number of slots by what goes through while requests wait, and try its neighbours in turn."""
        if not is_pressed:
            # Without a queue nothing can be learned, and a trial that lasts would be no trial.
            if self._base is not None or self._period.calls:
                self._settle(self._settled)
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
            self._settle(self.slots if is_kept else self._settled)
            return
        tried = self._neighbour()
        if tried is None or now < self._next_trial_at:
            self._period = _Period()
            return
        self._base, self._period, self.slots = self._period, _Period(skip=self.slots), tried

    def _neighbour(self) -> int | None:
        """Return the number to try next, one more and one less by turns; never less than two, where that is allowed."""
        self._is_next_up = not self._is_next_up
        up = self._settled + 1 if self._settled < self._limits.max_in_flight else None
        down = self._settled - 1 if self._settled > _SLOTS_FIRST else None
        return (up or down) if not self._is_next_up else (down or up)
