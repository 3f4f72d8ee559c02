"""When to stop asking a server that does not answer, and when to ask it again: a state machine without IO or clock."""

from typing import Final

# Three calls that fail one after the other are no accident, nor is a call that fails so long after the first.
FAILURES_MAX: Final = 3
FAILING_MAX_S: Final = 0.3
# The first pause is as long as a call may take; the longest is well below the 5 s in which all is to be caught up.
PAUSE_MIN_S: Final = 0.2
PAUSE_MAX_S: Final = 1.0


class Breaker:
    """Lets calls through, or, once they failed, one after each pause. Mutable: the failures, the pause, who is trying."""

    def __init__(self) -> None:
        self._failures = 0
        self._failing_since = 0.0
        self._pause_s = PAUSE_MIN_S
        self._closed_until = 0.0  # of an open breaker: no call before
        self._is_trying = False

    @property
    def is_open(self) -> bool:
        """Whether calls are refused, but for those that try."""
        return self._failures >= FAILURES_MAX

    def admits(self, now: float) -> bool:
        """Say whether a call may be made; if it may, `succeeded`, `failed` or `abandoned` is to follow."""
        if not self.is_open:
            return True
        if self._is_trying or now < self._closed_until:
            return False
        self._is_trying = True
        return True

    def succeeded(self) -> None:
        """The server answered, whatever it said."""
        self._failures = 0
        self._pause_s = PAUSE_MIN_S
        self._is_trying = False

    def failed(self, now: float) -> None:
        """The server did not answer. Calls that were under way when the breaker opened change nothing."""
        if self.is_open:
            if self._is_trying:
                self._is_trying = False
                self._pause_s = min(PAUSE_MAX_S, 2 * self._pause_s)
                self._closed_until = now + self._pause_s
            return
        if self._failures == 0:
            self._failing_since = now
        self._failures += 1
        if now - self._failing_since >= FAILING_MAX_S:
            self._failures = FAILURES_MAX
        if self._failures >= FAILURES_MAX:
            self._closed_until = now + self._pause_s

    def abandoned(self) -> None:
        """The caller went away before there was an answer: nothing is known."""
        self._is_trying = False
