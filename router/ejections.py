"""Arms whose backend can't be reached: after so many failed calls in a row their requests go elsewhere at once.

A worker sees it first. It says so in its heartbeat, and the leader puts the arm in quarantine; until that snapshot is
here, no request waits for a server that is not there.
"""

import math
from typing import Final

from serving.calls import BatchRecord
from serving.errors import DeadlineExceeded, Unavailable
from serving.upstream import Servable

# Part II §2.8 of the science: ten transport failures in a row are no accident of one connection.
IN_A_ROW: Final = 10
# One request in this time sees whether the backend is back.
_LOOK_S: Final = 1.0
# A call that had no answer; what a server answers, however bad, is for the guardrails to judge.
_UNREACHED: Final = frozenset({Unavailable.label, DeadlineExceeded.label})


class Ejections:
    """What one worker knows of unreached servables. Mutable: failures in a row, and when each was last let through."""

    def __init__(self) -> None:
        self._in_a_row: dict[Servable, int] = {}
        self._looked_at: dict[Servable, float] = {}

    def on_batch(self, record: BatchRecord) -> None:
        """Take note of a call that ended, well or ill."""
        if record.error in _UNREACHED:
            self._in_a_row[record.servable] = self._in_a_row.get(record.servable, 0) + 1
        else:
            self.forget(record.servable)

    def unreached_in_a_row(self, servable: Servable) -> int:
        """Return how many of its last calls had no answer."""
        return self._in_a_row.get(servable, 0)

    def forget(self, servable: Servable) -> None:
        """Begin anew: it answered, or it gets no traffic by which it could."""
        self._in_a_row.pop(servable, None)
        self._looked_at.pop(servable, None)

    def is_out(self, servable: Servable, now: float) -> bool:
        """Say whether a request should not go there; one a second may, to see whether it is back. `now` in seconds."""
        if self._in_a_row.get(servable, 0) < IN_A_ROW:
            return False
        if now - self._looked_at.get(servable, -math.inf) < _LOOK_S:
            return True
        self._looked_at[servable] = now
        return False
