"""When forms leave: evenly and by the clock, whatever the answers do (open loop). No IO, no clock of its own."""

# After a longer stall than this what was missed is not made up for: a burst would measure the burst.
STALL_S = 1.0


class Pace:
    """Even spacing at `rate` times a second; 0: no spacing at all. Mutable: when the next one is due."""

    def __init__(self, rate: float) -> None:
        if rate < 0:
            raise ValueError(f"rate must be 0 (as fast as it goes) or more, got {rate:g}")
        self._gap_s = 1.0 / rate if rate else 0.0
        self._next: float | None = None

    def wait_s(self, now: float) -> float:
        """Return how long the next sending waits at `now` (seconds, any monotonic clock), and count it as done."""
        if not self._gap_s:
            return 0.0
        if self._next is None or now - self._next > STALL_S:
            self._next = now
        wait_s = max(0.0, self._next - now)
        self._next += self._gap_s
        return wait_s

    def begin_anew(self) -> None:
        """Forget what was due: the next sending happens at once, and the missed ones never do."""
        self._next = None
