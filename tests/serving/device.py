"""A model server's device in simulated time, and clients that send through a batcher: what the pace is tested with."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

from serving.batcher import Batch, Batcher, BatchLimits, Rider
from serving.errors import QueueFull
from serving.upstream import Servable

V1 = Servable("tfs-a", "digits", 1)
# From an answer to the client's next request in the queue.
TURN_S = 0.001


@dataclass
class Device:
    """Serves `lanes` batches at a time, each in `seconds(rows, now)`."""

    seconds: Callable[[int, float], float]
    lanes: int = 1
    free_at: list[float] = field(default_factory=list)

    def ends_at(self, rows: int, now: float) -> float:
        self.free_at = self.free_at or [0.0] * self.lanes
        began = max(now, heapq.heappop(self.free_at))
        ended = began + self.seconds(rows, began)
        heapq.heappush(self.free_at, ended)
        return ended


@dataclass
class Crowded(Device):
    """Runs all batches at once, and each under way when one begins lengthens it by `crowding` of what it takes alone."""

    crowding: float = 1.0

    def ends_at(self, rows: int, now: float) -> float:
        self.free_at = [one for one in self.free_at if one > now]
        ended = now + self.seconds(rows, now) * (1 + self.crowding * len(self.free_at))
        self.free_at.append(ended)
        return ended


@dataclass
class Play:
    """A device behind a batcher. `done`: (when, seconds since the client sent it) of each answer."""

    device: Device
    limits: BatchLimits
    dribble_s: float = 0.0  # so much later than the one before it asks each of a batch's clients again
    way_s: float = 0.0  # there and back
    now: float = 0.0
    done: list[tuple[float, float]] = field(default_factory=list)
    batches: list[tuple[float, Batch, float]] = field(default_factory=list)  # sent at, what, ended at
    expired: list[Rider] = field(default_factory=list)
    hopeless: list[Rider] = field(default_factory=list)
    shed: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.batcher = Batcher(self.limits, 1)
        if self.way_s:
            self.batcher.replicas.pace(0).heard(self.way_s)
        # A request to come, a batch that ends, or a time to look again.
        self.events: list[tuple[float, int, Batch | float | None]] = []
        self.sent_at: dict[int, float] = {}
        self.is_closed = False
        self.patience_s = 30.0
        self.count = 0

    @property
    def slots(self) -> int:
        return self.batcher.replicas.pace(0).slots

    def closed_loop(self, clients: int, seconds: float) -> None:
        """So many clients that each send a request, wait for the answer, and send the next."""
        self.is_closed = True
        for _ in range(clients):
            self._at(self.now + TURN_S, None)
        self._run(self.now + seconds)
        self.events = [event for event in self.events if event[2] is not None]
        heapq.heapify(self.events)

    def open_loop(self, per_second: float, seconds: float) -> None:
        """Requests that come whatever becomes of the others."""
        self.is_closed = False
        for number in range(int(per_second * seconds)):
            self._at(self.now + number / per_second, None)
        self._run(self.now + seconds)

    def rate(self, since: float) -> float:
        """Answers a second from then on."""
        return sum(when >= since for when, _ in self.done) / (self.now - since)

    def _at(self, when: float, what: Batch | float | None) -> None:
        self.count += 1
        heapq.heappush(self.events, (when, self.count, what))

    def _run(self, until: float) -> None:
        while self.events and self.events[0][0] <= until:
            self.now, number, batch = heapq.heappop(self.events)
            if batch is None:
                self._ask(number)
            elif isinstance(batch, Batch):
                self._end(batch)
            while self.events and self.events[0][0] == self.now and self.events[0][2] is None:
                self._ask(heapq.heappop(self.events)[1])
            self._poll()
        self.now = until

    def _ask(self, number: int) -> None:
        self.sent_at[number] = self.now
        try:
            self.batcher.add(Rider(number, "key", V1, 1, 10, self.now + self.patience_s), self.now)
        except QueueFull:
            self.shed.append(self.now)

    def _end(self, batch: Batch) -> None:
        began = next(sent for sent, one, _ in reversed(self.batches) if one is batch)
        rows = batch.pad_to or batch.rows
        self.batcher.answered(V1, 0, rows, int(began * 1e9), int(self.now * 1e9), self.now, rows - batch.rows)
        self.batcher.done(batch.id)
        for place, rider in enumerate(batch.riders):
            self.done.append((self.now, self.now - self.sent_at.pop(rider.id)))
            if self.is_closed:
                self._at(self.now + TURN_S + place * self.dribble_s, None)

    def _poll(self) -> None:
        plan = self.batcher.poll(self.now)
        self.expired += plan.expired
        self.hopeless += [rider for rider, _ in plan.hopeless]
        self.shed += [self.now] * len(plan.shed)
        if plan.wake_at is not None and plan.wake_at > self.now:
            self._at(plan.wake_at, plan.wake_at)
        for batch in plan.send:
            there = self.now + self.way_s / 2
            ended = self.device.ends_at(batch.pad_to or batch.rows, there) + self.way_s / 2
            self.batches.append((self.now, batch, ended))
            self._at(ended, batch)
