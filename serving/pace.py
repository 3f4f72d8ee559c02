"""How many calls one replica bears at a time, and how many rows each: learned from the calls that ended. Pure, no clock.

Rows follow `latency_s` by additive increase and multiplicative decrease, for each servable. How
many calls at a time help is tried (slot_trials.py); where calls wait for one another, the next is kept (turns.py).
"""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from serving.latency_line import LatencyLine
from serving.slot_trials import SLOTS_FIRST, Return, SlotTrials
from serving.turns import Turns
from serving.upstream import Servable

# A batch that was late is followed by smaller ones: by a third, so that two cuts halve it.
_CUT: Final = 0.7
# Two of the last three must be late: one is an accident of the machine or the network.
_LATE_OF: Final = 3
# Full batches in time let the next have this share of the bound more: from nothing to all of it in 32 calls.
_STEP: Final = 1 / 32
# A call counts for three times what was expected at most, so that one stall does not look like a slow device; a device
# that is ten times slower is known three calls later. Below 5 ms everything is noise.
_SURPRISE_MAX: Final = 3.0
_SURPRISE_FREE_S: Final = 0.005
# What a line says of single rows while batches are full is a guess that fades with the calls it was made from.
_SLOW_FOR: Final = 32
# Calls of one row that take more of what is wished are slow: what they differ by would make every other one late.
_SLOW_SHARE: Final = 0.9
# What calls took lately; the fastest says what nobody can beat.
_TIMES_KEPT: Final = 16
# Without a call in this time nothing is known, and the next request is let through to find out.
_STALE_S: Final = 1.0
# Of the last questions, two a second, the one that was answered first tells the way: others met a busy process.
_WAYS_KEPT: Final = 16
# Of the wished latency a quarter is kept for the way and for calls that take longer than most.
_WAIT_SHARE: Final = 0.75
# In an overload batches are kept small so that all are in time, but not so small that much is lost.
_GOODPUT_MIN: Final = 0.9
# Lines of so many servables are kept, as many as an experiment may have arms.
_SERVABLES_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class PaceLimits:
    """Between what a replica's pace is learned. `latency_s`: what a call should take at most, None to learn nothing."""

    max_rows: int
    max_in_flight: int
    latency_s: float | None = None
    is_in_flight_learned: bool = False


@dataclass(slots=True)
class _Served:
    """One servable on this replica. Mutable throughout."""

    rows_max: float
    line: LatencyLine = field(default_factory=LatencyLine)
    apart: LatencyLine = field(default_factory=LatencyLine)  # if calls did not wait for one another
    times_s: deque[float] = field(default_factory=lambda: deque(maxlen=_TIMES_KEPT))
    fastest_s: float = 0.0  # of them
    ended_at: float = float("-inf")
    cut_ns: int = 0  # calls that began before were sent under a limit that is gone

    def learn(self, rows: int, seconds: float, took_s: float) -> tuple[float, float]:
        """Learn from a call that took `took_s`, `seconds` of them since the one before it came back; return by how much
        each line had missed it: if calls wait for one another, and if they do not."""
        is_first = not self.times_s
        self.times_s.append(took_s)
        self.fastest_s = min(self.times_s)
        missed_s = []
        for line, found_s in ((self.line, seconds), (self.apart, took_s)):
            expected_s = line.seconds(rows)
            counted_s = found_s if is_first else min(found_s, max(_SURPRISE_FREE_S, _SURPRISE_MAX * expected_s))
            missed_s.append(0.0 if is_first else abs(counted_s - expected_s))
            line.add(rows, counted_s)
        return missed_s[0], missed_s[1]


class Pace:
    """What one replica bears. Mutable: `slots` now, `most` of them that are ours, what is known of each servable, and the
    trial of another number."""

    def __init__(self, limits: PaceLimits) -> None:
        self._limits = limits
        first = min(SLOTS_FIRST, limits.max_in_flight) if limits.is_in_flight_learned else limits.max_in_flight
        self._trials = SlotTrials(first, limits.max_in_flight)
        self.most = limits.max_in_flight  # calls at a time, as others share the replica
        self._turns = Turns()
        self._served: dict[Servable, _Served] = {}
        self._ended_ns = 0
        self._slow_calls = 0  # in a row: two of one row can't be in time
        self._is_slow = False  # and so it is one call at a time
        self._ways_s: deque[float] = deque(maxlen=_WAYS_KEPT)
        self._way_s = 0.0

    @property
    def slots(self) -> int:
        """How many calls it gets at a time."""
        return min(self._trials.slots, self.most)

    @property
    def servables(self) -> tuple[Servable, ...]:
        """Those that something is known of."""
        return tuple(self._served)

    def heard(self, seconds: float) -> None:
        """Take note how long the answer to a question took that keeps no device busy: the way there and back."""
        self._ways_s.append(seconds)
        self._way_s = min(self._ways_s)

    def sent(self, batch_id: int, servable: Servable, rows: int, now: float) -> None:
        """Take note of a batch that was sent."""
        self._turns.sent(batch_id, self.seconds(servable, rows), now)

    def left(self, batch_id: int) -> None:
        """Take note that nothing of a batch is under way any more."""
        self._turns.left(batch_id)

    def kept_until(self) -> float:
        """Return until when a batch that is not full is better kept (turns.py); minus infinity if it may go."""
        is_ours_to_say = self._limits.is_in_flight_learned and self.slots == SLOTS_FIRST
        return self._turns.kept_until(self._way_s) if is_ours_to_say else float("-inf")

    def rows_max(self, servable: Servable) -> int:
        """Return how many rows a batch may have."""
        served = self._served.get(servable)
        if served is None:
            return self._limits.max_rows
        if self._trials.is_trying_more:
            # Batches that are in time one after the other are late beside one more, and what is late looks like more.
            return int(max(1.0, min(served.rows_max, self._rows_in_time(served, self.slots))))
        return int(served.rows_max)

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
        wished_s = max(0.0, _WAIT_SHARE * self._limits.latency_s - self._way_s)
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
        return 0.0 if served is None else self._way_s + (self.slots + 1) * served.line.seconds(served.rows_max)

    def fastest_s(self, servable: Servable, now: float) -> float:
        """Return what the fastest of the last calls took, from sent to answered; 0 while nothing fresh is known."""
        served = self._served.get(servable)
        if served is None or now - served.ended_at > _STALE_S:
            return 0.0
        return served.fastest_s

    def ended(
        self,
        servable: Servable,
        rows: int,
        began_ns: int,
        ended_ns: int,
        now: float,
        *,
        is_pressed: bool,
        is_busy: bool = True,
        padding: int = 0,
    ) -> None:
        """Take note of a call that was answered: `rows` as sent, `padding` of them nobody's; `is_pressed` if requests wait
        for a slot, `is_busy` if the call had taken the last one.

        `began_ns` and `ended_ns` are of one clock, which need not be that of `now`.
        """
        if self._limits.latency_s is None:
            return
        # Calls overlap, the device serves one after the other: each is charged from when the one before it came back, or
        # from when it can have been there.
        began_there_ns = began_ns + int(self._way_s * 1e9)
        seconds = max(0.0, (ended_ns - max(began_there_ns, self._ended_ns)) / 1e9)
        # What goes through in a time counts the gaps between calls, too: one call at a time has more of them.
        since_s = max(0.0, (ended_ns - self._ended_ns) / 1e9)
        self._ended_ns = max(ended_ns, self._ended_ns)
        served = self._known(servable)
        self._turns.ended(*served.learn(rows, seconds, (ended_ns - began_ns) / 1e9), now)
        served.ended_at = now
        self._adapt_rows(served, rows, began_ns, ended_ns)
        if self._limits.is_in_flight_learned:
            self._fit_slots(served)
            if not self._is_slow:
                call = Return(servable, rows - padding, since_s, is_pressed, is_busy)
                self._trials.ended(call, now, min(self._slots_worth(served), self.most))

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
        alone_s = self._way_s + self.slots * served.line.seconds(1) if served.line.is_known else 0.0
        return self._limits.latency_s if alone_s <= _SLOW_SHARE * self._limits.latency_s else 2 * alone_s

    def _slots_worth(self, served: _Served) -> int:
        """Return how many calls may be tried: all in time, and where they wait for one another no more than bring more
        through with the smaller batches that are in time then, as the line says: such a trial could only cost."""
        in_time, more = self._slots_in_time(served), self.slots + 1
        if not self._turns.in_turn or in_time < more or self._rate(served, more) > self._rate(served, self.slots):
            return in_time
        return self.slots

    def _rate(self, served: _Served, slots: int) -> float:
        """Say how many rows a second so many calls bring through, one after the other there, all full and in time."""
        rows = max(1.0, min(served.rows_max, self._rows_in_time(served, slots)))
        seconds = served.line.seconds(rows)
        return rows / max(1e-9, seconds, (self._way_s + seconds) / slots)

    def _rows_in_time(self, served: _Served, slots: int) -> float:
        """Return how many rows a call may have to be back in time behind so many slots, as the line says."""
        alone_s = served.line.seconds(0)
        row_s = served.line.seconds(1) - alone_s
        left_s = (self._target_s(served) - self._way_s) / slots - alone_s
        return left_s / row_s if row_s > 0 else math.inf

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
            if self._way_s + self.slots * served.line.seconds(more) <= target_s:
                served.rows_max = more

    def _slots_in_time(self, served: _Served) -> int:
        """Return behind how many others, and itself, a call of one row is back in time."""
        assert self._limits.latency_s is not None  # noqa: S101 the caller has looked
        row_s = served.line.seconds(1)
        return max(1, int(_SLOW_SHARE * self._limits.latency_s / row_s)) if row_s > 0 else self._limits.max_in_flight

    def _fit_slots(self, served: _Served) -> None:
        """Fall back to one call at a time where two can't be in time, and to two when they can again."""
        assert self._limits.latency_s is not None  # noqa: S101 the caller has looked
        if not served.line.is_known:
            return
        two_s, wished_s = SLOTS_FIRST * served.line.seconds(1), self._limits.latency_s
        is_slow = self.slots > self._slots_in_time(served)
        self._slow_calls = self._slow_calls + 1 if is_slow else 0
        if self._slow_calls >= _SLOW_FOR:
            self._trials.settle(max(1, self.slots // 2))
            self._is_slow = self.slots == 1
        elif self._is_slow and self._limits.max_in_flight > 1 and two_s <= 0.7 * wished_s:
            self._trials.settle(SLOTS_FIRST)
            self._is_slow = False
