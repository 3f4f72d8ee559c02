"""Whether the calls on a replica wait for one another, and how long the next one is better kept at home. Pure.

Where one batch runs at a time, one that is sent early only waits there, and those who come meanwhile can't join it. So
the next is sent shortly before the one under way is due back. Where batches run beside each other it goes at once.
"""

from typing import Final

# The next is on its way this share of the call under way before that one is due: calls differ by some ten per cent, and
# one that ends earlier still frees its slot at once.
_LEAD: Final = 1 / 4
# And at least this long: timers are late.
_LEAD_MIN_S: Final = 0.004
# Of both explanations one must be wrong by this much less, so that one is never left for noise.
_CLEARLY: Final = 0.6
# A call weighs half as much after 22 more.
_FORGET: Final = 31 / 32
# Eight calls, the older ones faded, prove something.
_CALLS_MIN: Final = 7.0


class Turns:
    """What is known of one replica. Mutable: the errors of both explanations, and the batches under way."""

    def __init__(self) -> None:
        self.in_turn = False
        self._calls = self._in_turn_error_s = self._apart_error_s = 0.0
        self._under_way: dict[int, tuple[float, float]] = {}  # by batch: when it was sent, what it is expected to take
        self._ended_at = float("-inf")

    def ended(self, in_turn_error_s: float, apart_error_s: float, now: float) -> None:
        """Learn from a call that ended: how wrong was what is expected of it if calls wait for one another, or if not."""
        self._ended_at = now
        self._calls = self._calls * _FORGET + 1.0
        self._in_turn_error_s = self._in_turn_error_s * _FORGET + in_turn_error_s
        self._apart_error_s = self._apart_error_s * _FORGET + apart_error_s
        if self._calls < _CALLS_MIN:
            return
        if self._in_turn_error_s < _CLEARLY * self._apart_error_s:
            self.in_turn = True
        elif self._apart_error_s < _CLEARLY * self._in_turn_error_s:
            self.in_turn = False

    def sent(self, batch_id: int, seconds: float, now: float) -> None:
        """Take note of a batch that will keep the replica for so long; 0 if that is not known."""
        self._under_way[batch_id] = (now, seconds)

    def left(self, batch_id: int) -> None:
        """Take note that nothing of a batch is under way any more."""
        del self._under_way[batch_id]

    def kept_until(self, way_s: float) -> float:
        """Return until when a batch that is not full is better kept; minus infinity if it may go. `way_s`: there and back."""
        if not self.in_turn or len(self._under_way) != 1:
            return float("-inf")
        ((sent_at, seconds),) = self._under_way.values()
        due_at = max(sent_at + way_s, self._ended_at) + seconds
        return due_at - way_s - max(_LEAD_MIN_S, _LEAD * seconds)
