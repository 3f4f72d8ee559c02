"""Requests that wait for one servable: who is most urgent, who may ride together, whose time is up. Pure, like batcher."""

import heapq
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from serving.upstream import Servable

# Nobody waits for company longer than this share of the time that is left.
_GATHER_SHARE: Final = 0.1


class Rider(NamedTuple):
    """One request that waits for a seat. Riders with equal `key` and `servable` may share a batch if `mergeable`.

    `id` is never used twice. `rows` is at least 1. `deadline` is in seconds, on the clock of the batcher's `now`.
    """

    id: int
    key: Hashable
    servable: Servable
    rows: int
    size_bytes: int
    deadline: float
    mergeable: bool = True
    client: Hashable = None  # whose it is: seats are shared out between clients


class Deadlines:
    """Ids by deadline. Taking one out leaves its entry in the heap until it surfaces or the stale ones prevail."""

    # Mutable: `_heap` (deadline, id) with stale entries; `_live` id -> deadline.
    __slots__ = ("_heap", "_live")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._live: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._live)

    def add(self, rider_id: int, deadline: float) -> None:
        """Watch the deadline of an id that was never here before."""
        self._live[rider_id] = deadline
        heapq.heappush(self._heap, (deadline, rider_id))

    def discard(self, rider_id: int) -> None:
        """Forget an id, if it is here."""
        self._live.pop(rider_id, None)
        # Rebuilding when more than half is stale keeps memory bounded by what is live, at O(1) amortised; below 64
        # entries it is not worth the trouble.
        if len(self._heap) > 2 * len(self._live) + 64:
            self._heap = [(deadline, live_id) for live_id, deadline in self._live.items()]
            heapq.heapify(self._heap)

    def earliest(self) -> tuple[float, int] | None:
        """Return the earliest (deadline, id), None when there is none. Equal deadlines: the smaller id first."""
        while self._heap and self._heap[0][1] not in self._live:
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None

    def take_expired(self, now: float) -> list[int]:
        """Take out and return the ids whose deadline is not after `now`, earliest first."""
        expired = []
        while (first := self.earliest()) is not None and first[0] <= now:
            expired.append(first[1])
            self.discard(first[1])
        return expired


class Queue:
    """One servable's riders, in lanes: those of a lane may ride together. Of a lane first goes who has least time, but
    nobody's second rider before everybody's first: a client that floods waits behind itself.
    """

    # Mutable: `rows`; `_lanes` lane -> client -> deadlines of its riders, none empty; `_riders` all by id; `_deadlines` theirs.
    __slots__ = ("_deadlines", "_lanes", "_riders", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self._lanes: dict[Hashable, dict[Hashable, Deadlines]] = {}
        self._riders: dict[int, Rider] = {}
        self._deadlines = Deadlines()

    def __len__(self) -> int:
        return len(self._riders)

    def add(self, rider: Rider) -> None:
        """Let a rider join its lane."""
        clients = self._lanes.setdefault(_lane(rider), {})
        clients.setdefault(rider.client, Deadlines()).add(rider.id, rider.deadline)
        self._riders[rider.id] = rider
        self.rows += rider.rows
        self._deadlines.add(rider.id, rider.deadline)

    def remove(self, rider: Rider) -> None:
        """Take a rider out that is here, whatever becomes of it."""
        del self._riders[rider.id]
        self.rows -= rider.rows
        self._deadlines.discard(rider.id)
        clients = self._lanes[_lane(rider)]
        clients[rider.client].discard(rider.id)
        if not clients[rider.client]:
            del clients[rider.client]
        if not clients:
            del self._lanes[_lane(rider)]

    def most_urgent(self) -> Rider | None:
        """Return the rider with the earliest deadline, None when nobody waits."""
        first = self._deadlines.earliest()
        return None if first is None else self._riders[first[1]]

    def due(self, until: float) -> list[Rider]:
        """Return the riders whose deadline is not after `until`, earliest first; they are still to be removed."""
        return [self._riders[rider_id] for rider_id in self._deadlines.take_expired(until)]

    def take(self, rider: Rider, max_rows: int, max_bytes: int) -> tuple[Rider, ...]:
        """Take out those of the rider's lane that go in one batch: at least one; the lane's most urgent is among them."""
        taken: list[Rider] = []
        rows = size_bytes = 0
        while clients := self._lanes.get(_lane(rider)):
            firsts = sorted(first for one in clients.values() if (first := one.earliest()) is not None)
            for _, rider_id in firsts:
                other = self._riders[rider_id]
                rows += other.rows
                size_bytes += other.size_bytes
                if taken and (rows > max_rows or size_bytes > max_bytes):
                    return tuple(taken)
                taken.append(other)
                self.remove(other)
        return tuple(taken)


@dataclass(slots=True)
class Line:
    """One servable's state. Mutable throughout."""

    queue: Queue = field(default_factory=Queue)
    in_flight: int = 0  # riders sent and not done
    probe_rows: int | None = None  # a probe of so many rows is wanted
    hold_until: float | None = None  # its riders wait for an empty replica, but no longer than this
    hold_not_before: float = float("-inf")
    kept_until: float = float("-inf")  # what is not full gathers company

    def join(self, rider: Rider, now: float, gather_s: float) -> bool:
        """Let a rider queue, of whom the first is kept so long for company; whether that says anew when to look again."""
        kept_until = now + min(gather_s, _GATHER_SHARE * (rider.deadline - now))
        is_new = not self.queue or kept_until < self.kept_until
        if is_new:
            self.kept_until = kept_until
        self.queue.add(rider)
        return is_new and kept_until > now

    def wake_at(self, now: float) -> list[float]:
        """Return when its first rider expires, and when a wait ends; nothing while nobody waits."""
        first = self.queue.most_urgent()
        if first is None:
            return []
        ends = (self.hold_until, self.kept_until if self.kept_until > now else None)
        return [first.deadline, *(one for one in ends if one is not None)]

    def wants_probe(self, urgent: Rider, now: float) -> bool:
        """Whether this rider's batch is to be the probe. What can't be merged can't be padded, and passes by."""
        return self.probe_rows is not None and urgent.mergeable and self.hold_not_before <= now


def _lane(rider: Rider) -> Hashable:
    """Return what riders must share to ride together: nothing equals the lane of one that must go alone."""
    return (rider.key,) if rider.mergeable else (rider.key, rider.id)
