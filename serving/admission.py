"""Whether one more request may wait: the bounds of the queue, and what is refused while more comes than can be answered.

Pure. A queue that is long for a moment is a burst, and is worked off. One that stays long only makes everybody late: then
no more are let in than can be answered within `latency_s`, and the rest is told so at once.
"""

from collections import Counter
from collections.abc import Callable, Collection, Hashable
from typing import Final

from serving.batches import BatchLimits
from serving.errors import Overloaded, QueueFull
from serving.queues import Rider
from serving.upstream import Servable

# The queue's last part is for clients that hold less than that part: one that floods can't lock the others out.
_PART_FOR_OTHERS: Final = 1 / 8
# Four times the wished latency: a closed loop of clients that is merely busy waits half of that (256 of them at a device
# of 1,778 rows a second: 144 ms for 80).
_LONG: Final = 4.0
# A burst that is worked off in this time is none of our business.
_LONG_FOR_S: Final = 0.3
# Fewer are no flood, however slow the backend is: everybody waits for their own answer.
_ROWS_FREE: Final = 64
# It is over when nobody was refused for so long.
_CALM_S: Final = 1.0
# Whoever decides what goes next looks at each servable that somebody waits for. Clients may make up names without end:
# when so many wait, no more join them but those that are expected, or were answered before.
_LINES_MAX: Final = 512
_KNOWN_MAX: Final = 1_000


class Admission:
    """What waits, by client, and whether there is a flood. Mutable throughout; `_known` are the servables that were answered,
    the latest last, and `_is_expected` says which will be."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self.rows = self.size_bytes = 0
        self._rows_of: Counter[Hashable] = Counter()
        self._known: dict[Servable, None] = {}
        self._is_expected: Callable[[Servable], bool] = lambda servable: False
        self._long_since: float | None = None
        self._flood_until: float | None = None

    def expect(self, is_expected: Callable[[Servable], bool]) -> None:
        """Let requests for these wait beside however many others, also before one is answered."""
        self._is_expected = is_expected

    def answered(self, servable: Servable) -> None:
        """Take note that it is there."""
        self._known.pop(servable, None)
        self._known[servable] = None
        if len(self._known) > _KNOWN_MAX:
            del self._known[next(iter(self._known))]

    def let_in(self, rider: Rider, load: float, now: float, lines: Collection[Servable] = ()) -> None:
        """Count a rider that will wait; Overloaded or QueueFull when it may not.

        `load`: how long all would take, this one among them, as a share of `latency_s`; `lines`: what others wait for. A
        rider with more rows than the bound is let into an empty queue, since nobody could ever answer it otherwise; the
        bound in bytes knows no exception.
        """
        limits = self._limits
        if len(lines) >= _LINES_MAX and not (rider.servable in lines or self._is_known(rider.servable)):
            raise QueueFull(f"requests for {len(lines)} models wait, and nobody was answered by {rider.servable} yet")
        if self.rows and self.rows + rider.rows > limits.queue_rows - self._kept_from(rider.client):
            seen = f"{self.rows} rows wait and this request has {rider.rows}"
            raise QueueFull(f"the queue holds at most queue_rows={limits.queue_rows}: {seen}")
        if self.size_bytes + rider.size_bytes > limits.queue_bytes:
            seen = f"{self.size_bytes} bytes wait and this request has {rider.size_bytes}"
            raise QueueFull(f"the queue holds at most queue_bytes={limits.queue_bytes}: {seen}")
        if self.is_flooded(now) and load > 1 and self.rows and not self._is_crowded_out(rider.client):
            self._flood_until = now + _CALM_S
            raise Overloaded(
                f"more comes than the backend can answer within {limits.latency_s} s: {self.rows} rows wait"
            )
        self.rows += rider.rows
        self.size_bytes += rider.size_bytes
        self._rows_of[rider.client] += rider.rows

    def _is_known(self, servable: Servable) -> bool:
        return servable in self._known or self._is_expected(servable)

    def leave(self, rider: Rider) -> None:
        """Count a rider no more."""
        self.rows -= rider.rows
        self.size_bytes -= rider.size_bytes
        self._rows_of[rider.client] -= rider.rows
        if not self._rows_of[rider.client]:
            del self._rows_of[rider.client]

    def is_flooded(self, now: float) -> bool:
        """Whether there is a flood."""
        return self._flood_until is not None and now < self._flood_until

    @property
    def is_crowded(self) -> bool:
        """Whether so many wait that it may be a flood."""
        return self.rows > _ROWS_FREE

    def begins_flood(self, strain: float, now: float) -> bool:
        """Take note of how long the last in the queue will wait, in units of what is wished or can't be helped; whether a
        flood begins with it."""
        if not self.is_crowded or strain <= _LONG:
            self._long_since = None
            return False
        if self._long_since is None:
            self._long_since = now
        if now - self._long_since < _LONG_FOR_S or self.is_flooded(now):
            return False
        self._flood_until = now + _CALM_S
        return True

    def _kept_from(self, client: Hashable) -> float:
        """Return how many rows of the queue are kept from a client for others. Who is not named is nobody's other."""
        part = _PART_FOR_OTHERS * self._limits.queue_rows
        return part if client is not None and self._rows_of[client] > part else 0.0

    def _is_crowded_out(self, client: Hashable) -> bool:
        """Whether somebody else has far more than a fair share of the queue, and this client less than one."""
        fair = self.rows / len(self._rows_of.keys() | {client})
        # Of clients that send alike one always has a row or two more than the others.
        return self._rows_of[client] < fair and max(self._rows_of.values()) >= 1.5 * fair + 1
