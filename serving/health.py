"""When a replica gets no more calls, and when it is asked again: a state machine without IO or clock.

A call that finds nobody there makes a replica suspect at once; a small question of our own decides. To that, what a server
answers, however bad, is an answer: a full queue ejects nobody. Whose calls fail beyond the others' is told by outliers.py.
"""

from dataclasses import dataclass

# A hung server (stopped, out of memory) takes calls and answers none: two questions in a row unanswered are enough. One may
# be a pause of its garbage collector.
_TIMEOUTS_MAX = 2
# After an ejection the replica is asked again this much later; each time it was in vain, or was ejected again within
# `_FORGET_S`, the pause doubles. A server that goes up and down every 2 s soon is left alone for most of the time.
_OUT_FIRST_S = 1.0
_OUT_MAX_S = 30.0
_FORGET_S = 60.0


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of one replica's health; times in seconds on the clock of `now`. `out_until` None: it gets calls."""

    out_until: float | None = None
    timeouts: int = 0
    ejections: int = 0
    returned_at: float = float("-inf")

    @property
    def is_out(self) -> bool:
        """Whether it is ejected."""
        return self.out_until is not None

    def is_due(self, now: float, *, has_others: bool = True) -> bool:
        """Whether it may be asked now; one that is ejected only when its pause is over, or when there are no others that
        take calls meanwhile.
        """
        return self.out_until is None or not has_others or now >= self.out_until

    def answered(self, now: float) -> "Health":
        """Return its health after it answered a question: it gets calls, from now on if it was ejected."""
        if not self.is_out:
            is_forgotten = now - self.returned_at >= _FORGET_S
            return Health(None, 0, 0 if is_forgotten else self.ejections, self.returned_at)
        return Health(None, 0, self.ejections, now)

    def refused(self, now: float, *, has_others: bool = True) -> "Health":
        """Return its health after nobody was there to take the question."""
        return self._out(now, has_others=has_others)

    def timed_out(self, now: float, *, has_others: bool = True) -> "Health":
        """Return its health after a question without an answer; the last replica of all is not ejected for that."""
        if self.is_out:
            return self._out(now, has_others=has_others)
        if has_others and self.timeouts + 1 >= _TIMEOUTS_MAX:
            return self._out(now)
        return Health(None, self.timeouts + 1, self.ejections, self.returned_at)

    def failing(self, now: float) -> "Health":
        """Return its health after its calls failed and those of others did not."""
        return self._out(now)

    def _out(self, now: float, *, has_others: bool = True) -> "Health":
        if self.is_out and not has_others:
            # It was asked before its time, for want of others: that says nothing about how steady it is.
            return self
        pause_s = min(_OUT_MAX_S, _OUT_FIRST_S * 2.0**self.ejections)
        return Health(now + pause_s, 0, self.ejections + 1, self.returned_at)
