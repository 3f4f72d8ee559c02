"""What the batcher is bounded by, and what it decides: values only."""

import bisect
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

from serving.queues import Rider
from serving.upstream import Servable


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The bounds of one backend's batcher: per batch, per replica, and of everything that waits."""

    max_rows: int  # of a merged batch; a request that alone has more goes alone
    max_in_flight: int  # batches on one replica at a time
    queue_rows: int
    queue_bytes: int
    # Of a merged batch, as it was sent: no larger than the largest message a client may send us (`limits.message_bytes`), so
    # that merging makes no message that no server was meant to take. What is short for more may double it (tensors.py).
    max_bytes: int = 64 << 20
    # What a call should take; rows then follow it (pace.py). None: nothing is learned, `max_rows` and `max_in_flight`
    # hold as they are.
    latency_s: float | None = None
    # With it, `max_in_flight` is the most that may be found out.
    is_in_flight_learned: bool = False
    # By model, the row counts that batches are padded up to, in order; a model that is not here takes any.
    allowed_rows: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("max_rows", "max_in_flight", "queue_rows", "queue_bytes", "max_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def padded(self, servable: Servable, rows: int) -> int | None:
        """Return the allowed size to pad so many rows up to; None when they have one, or there is none."""
        sizes = self.allowed_rows.get(servable.model, ())
        place = bisect.bisect_left(sizes, rows)
        return sizes[place] if place < len(sizes) and sizes[place] > rows else None

    def is_affordable(self, pad_to: int, rows: int, size_bytes: int) -> bool:
        """Whether so many rows can be padded up to so many, and a batch may be as large as that."""
        return rows <= pad_to and pad_to * size_bytes <= self.max_bytes * rows


@dataclass(frozen=True, slots=True)
class Batch:
    """Riders that go to `replica` in one call. `pad_to`: rows to pad to (probes, allowed sizes), None for no padding."""

    id: int
    servable: Servable
    key: Hashable
    riders: tuple[Rider, ...]
    rows: int  # the riders' own, without padding
    replica: int
    pad_to: int | None
    is_probe: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What the shell has to do: send these, answer these DeadlineExceeded, and poll again at `wake_at` or earlier.

    `hopeless` have time left, but less than any call takes: each with the seconds of the fastest. `shed` are Overloaded.
    """

    send: tuple[Batch, ...]
    expired: tuple[Rider, ...]
    wake_at: float | None
    hopeless: tuple[tuple[Rider, float], ...] = ()
    shed: tuple[Rider, ...] = ()
