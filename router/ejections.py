"""Arms whose backend can't be reached: after so many failed requests in a row their requests go elsewhere at once.

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


class Ejections:
    """What one worker knows of unreached servables. Mutable: failures in a row, and when each was last let through."""

    def __init__(self) -> None:
        self._in_a_row: dict[Servable, int] = {}
        self._looked_at: dict[Servable, float] = {}

    def on_batch(self, record: BatchRecord) -> None:
        """Take note of a call that ended: any answer ends a row, however bad, for guardrails judge that; one that hung
        for its whole time was as good as not reached.
        """
        if record.error == DeadlineExceeded.label:
            self._add(record.servable, record.riders)
        elif record.error != Unavailable.label:
            self.forget(record.servable)

    def unreached(self, servable: Servable) -> None:
        """Take note of a request for which no server was there, whether a call was tried or not."""
        self._add(servable, 1)

    def _add(self, servable: Servable, requests: int) -> None:
        self._in_a_row[servable] = self._in_a_row.get(servable, 0) + requests

    def unreached_in_a_row(self, servable: Servable) -> int:
        """Return how many of the last requests sent to it had no answer."""
        return self._in_a_row.get(servable, 0)

    def forget(self, servable: Servable) -> None:
        """Begin anew: it answered, or it gets no traffic by which it could."""
        self._in_a_row.pop(servable, None)
        self._looked_at.pop(servable, None)

    def is_known_dead(self, servable: Servable) -> bool:
        """Whether so many in a row had no answer."""
        return self.unreached_in_a_row(servable) >= IN_A_ROW

    def is_out(self, servable: Servable, now: float) -> bool:
        """Say whether a request should not go there; one a second may, to see whether it is back. `now` in seconds."""
        if not self.is_known_dead(servable):
            return False
        if now - self._looked_at.get(servable, -math.inf) < _LOOK_S:
            return True
        self._looked_at[servable] = now
        return False
