"""When to measure an arm in traffic: probes, spread over the arms, within a share of the busy time.

A probe is a batch that runs alone on an empty replica, padded to the reference size (batcher.py). Pure: no clock.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from serving.upstream import Servable

# Design §9: probes cost at most 2 % of the busy time.
BUSY_SHARE_MAX: Final = 0.02
# Credit saved up while there is nothing to probe, and given at the start: until an arm has five probes its cost is not
# known, and calibration has just taken ten times as much of the backend. A probe of the largest demo model takes 10 ms.
_CREDIT_MAX_NS: Final = 200_000_000
# An arm whose batches can't be padded, or that gets none, is passed over after being awaited this often: 10 s of looks.
_WAIT_MAX: Final = 40
# The last 15 scale an arm's line (design §9): more would answer later when the machine changes.
KEPT: Final = 15


class ProbeSchedule:
    """The probes of one backend. Mutable: the credit earned by busy time, the last probes of each arm."""

    def __init__(self) -> None:
        self._credit_ns = float(_CREDIT_MAX_NS)
        self._asked: Servable | None = None
        self._waited = 0
        self._turn: dict[Servable, int] = {}
        self._count = 0
        self.measured: dict[Servable, deque[tuple[int, float]]] = {}

    def record(self, servable: Servable, *, rows: int, seconds: float, charged_ns: int, is_probe: bool) -> None:
        """Take note of a batch that ran: `rows` as padded, `seconds` alone on the replica if it was a probe."""
        if not is_probe:
            self._credit_ns = min(_CREDIT_MAX_NS, self._credit_ns + BUSY_SHARE_MAX * charged_ns)
            return
        self._credit_ns -= charged_ns
        if servable == self._asked:
            self._asked = None
        self.measured.setdefault(servable, deque(maxlen=KEPT)).append((rows, seconds))

    def failed(self, servable: Servable, charged_ns: int) -> None:
        """Take note of a probe that brought no time but cost some: the next arm's turn comes."""
        self._credit_ns -= charged_ns
        if servable == self._asked:
            self._asked = None

    def due(self, servables: Sequence[Servable]) -> Servable | None:
        """Return the arm to probe next, least recently probed first; None while the credit does not cover it."""
        self._waited += 1
        if not servables or (self._asked in servables and self._waited < _WAIT_MAX):
            return None
        self._waited, self._asked = 0, None
        candidate = min(servables, key=lambda one: self._turn.get(one, 0))
        seen = self.measured.get(candidate)
        expected_ns = seen[-1][1] * 1e9 if seen else 0.0
        # What costs more than can be saved up is paid off afterwards.
        if self._credit_ns < min(expected_ns, _CREDIT_MAX_NS) or self._credit_ns <= 0:
            return None
        self._count += 1
        self._turn[candidate] = self._count
        self._asked = candidate
        return candidate
