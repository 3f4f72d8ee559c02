"""The replicas of a backend as places for batches: how busy each is, which take new ones, and which comes first. Pure.

Replicas have numbers; that of one that is gone is given to another only when nothing is on it any more.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from serving.pace import Pace, PaceLimits
from serving.upstream import Servable


@dataclass(slots=True)
class _Slot:
    """How busy one replica is. Mutable throughout."""

    pace: Pace
    batches: int = 0
    rows: int = 0
    copies: int = 0  # calls beside the batches
    last_batch: int = 0
    alone_until: float = float("-inf")  # a probe is there, and nobody joins it before this
    is_open: bool = True  # closed: ejected or gone, it gets nothing new
    suspect_until: float = float("-inf")  # a call found nobody there: until more is known, others are used
    suspect_since: float = float("-inf")

    def load(self) -> tuple[int, int, int]:
        """Order replicas by how busy they are; of idle ones the one used longest ago comes first."""
        return self.batches, self.rows, self.last_batch


class Slots:
    """All replicas of one backend. Mutable: the slots, which are gone, `_reserved`, the one that a probe waits for, and
    `_most` calls on each."""

    def __init__(self, replicas: int, limits: PaceLimits) -> None:
        if replicas < 1:
            raise ValueError(f"a backend needs at least 1 replica, got {replicas}")
        self._limits = limits
        self._slots = [_Slot(Pace(limits)) for _ in range(replicas)]
        self._most = limits.max_in_flight
        self._gone: set[int] = set()
        self._reserved: int | None = None

    def __str__(self) -> str:
        return "+".join(f"{slot.batches}/{slot.pace.slots}" for slot in self._slots)

    @property
    def open_count(self) -> int:
        """How many replicas take batches."""
        return sum(slot.is_open for slot in self._slots)

    @property
    def bearable(self) -> int:
        """How many calls those that take batches bear at once, together."""
        return sum(slot.pace.slots for slot in self._slots if slot.is_open)

    def pace(self, index: int) -> Pace:
        """Return what a replica bears."""
        return self._slots[index].pace

    def has_room(self, index: int) -> bool:
        """Whether a replica has fewer batches than slots."""
        return self._slots[index].batches < self._slots[index].pace.slots

    def has_any_room(self) -> bool:
        """Whether any replica that takes batches has fewer than slots."""
        return any(slot.is_open and slot.batches < slot.pace.slots for slot in self._slots)

    def limit(self, most: int) -> None:
        """Send each replica no more than so many calls at a time from now on, whatever was found out."""
        self._most = most
        for slot in self._slots:
            slot.pace.most = most

    def open_places(self) -> list[int]:
        """Return the numbers of the replicas that take batches."""
        return [index for index, slot in enumerate(self._slots) if slot.is_open]

    def add(self) -> int:
        """Make room for one more replica, and return its number."""
        for index in sorted(self._gone):
            if self._slots[index].batches == 0:
                self._gone.remove(index)
                self._slots[index] = self._new()
                return index
        self._slots.append(self._new())
        return len(self._slots) - 1

    def _new(self) -> _Slot:
        slot = _Slot(Pace(self._limits))
        slot.pace.most = self._most
        return slot

    def close(self, index: int, *, is_gone: bool = False) -> None:
        """Send a replica nothing new; what it has goes on. `is_gone`: for good."""
        self._slots[index].is_open = False
        if self._reserved == index:
            self._reserved = None
        if is_gone:
            self._gone.add(index)

    def open(self, index: int) -> None:
        """Send a replica batches, without a doubt about it."""
        self._slots[index].is_open, self._slots[index].suspect_until = True, float("-inf")

    def suspect(self, index: int, now: float, until: float) -> None:
        """Send a replica nothing until then, unless all others are closed or suspect, too."""
        self._slots[index].suspect_since, self._slots[index].suspect_until = now, until

    def answered(self, index: int, since: float) -> None:
        """A call that began then was answered: a later doubt stays, for the answer may have been on its way before."""
        if since >= self._slots[index].suspect_since:
            self._slots[index].suspect_until = float("-inf")

    def is_any_trusted(self, now: float) -> bool:
        """Whether any replica takes batches and is not suspect."""
        return any(slot.is_open and slot.suspect_until <= now for slot in self._slots)

    def take(self, index: int, servable: Servable, rows: int, batch_id: int, now: float, alone_until: float) -> None:
        """Put a batch on a replica; nobody joins it before `alone_until`."""
        slot = self._slots[index]
        slot.pace.sent(batch_id, servable, rows, now)
        slot.batches += 1
        slot.rows += rows
        slot.last_batch = batch_id
        slot.alone_until = max(slot.alone_until, alone_until)

    def leave(self, index: int, rows: int, batch_id: int, *, is_probe: bool) -> None:
        """Take a batch off, as its call has ended."""
        slot = self._slots[index]
        slot.pace.left(batch_id)
        slot.batches -= 1
        slot.rows -= rows
        if is_probe:
            slot.alone_until = float("-inf")

    @property
    def is_reserved(self) -> bool:
        """Whether one replica is kept free of new batches."""
        return self._reserved is not None

    def reserve(self, *, is_wanted: bool) -> None:
        """Keep one replica free of new batches for as long as a probe waits for an empty one."""
        if not is_wanted:
            self._reserved = None
        elif self._reserved is None:
            # The one likely to be empty first. It stays reserved: chosen anew each time, two replicas could take turns
            # at being the least loaded, and neither would ever be empty.
            free = [index for index, slot in enumerate(self._slots) if slot.is_open]
            self._reserved = min(free, key=lambda index: self._slots[index].load(), default=None)

    def freest(
        self,
        now: float,
        *,
        is_probe: bool,
        is_kept: bool = False,
        is_ready: Callable[[int], bool] = lambda index: True,
    ) -> int | None:
        """Return the least-loaded replica with room for a batch; a probe wants all of it. Where the next batch is better
        kept for a while, as all replicas' may be, only one that is ready, for there it is full, gets it."""
        # One that is suspect would cost a request its only second try; it is known within milliseconds.
        is_any_trusted = self.is_any_trusted(now)
        free = [
            index
            for index, slot in enumerate(self._slots)
            if slot.is_open
            and (slot.suspect_until <= now or not is_any_trusted)
            and slot.alone_until <= now
            and (slot.batches == 0 if is_probe else slot.batches < slot.pace.slots)
            and (is_probe or index != self._reserved)
            and (is_probe or (not is_kept and slot.pace.kept_until() <= now) or is_ready(index))
        ]
        return min(free, key=lambda index: self._slots[index].load(), default=None)

    def spare(self, now: float) -> int | None:
        """Return the least-loaded replica that is trusted and has a slot free beside its batches and copies; else None."""
        free = [
            index
            for index, slot in enumerate(self._slots)
            if slot.is_open
            and max(slot.suspect_until, slot.alone_until) <= now
            and slot.batches + slot.copies < slot.pace.slots
            and index != self._reserved
        ]
        return min(free, key=lambda index: (self._slots[index].copies, self._slots[index].load()), default=None)

    @property
    def is_copying(self) -> bool:
        """Whether any copy is under way."""
        return any(slot.copies for slot in self._slots)

    @contextmanager
    def copying(self, index: int) -> Iterator[None]:
        """Count a copy as long as its call takes: no slot is taken, but other copies and probes heed it."""
        # Held, for the number may be another replica's by then.
        slot = self._slots[index]
        slot.copies += 1
        try:
            yield
        finally:
            slot.copies -= 1

    def wake_at(self, now: float) -> list[float]:
        """Return when probes that run now no longer keep others off, and when batches need no longer be kept."""
        times = [slot.alone_until for slot in self._slots] + [slot.pace.kept_until() for slot in self._slots]
        return [one for one in times if one > now]
