"""How long a batch that is not full is kept for company, while what is short is this process's own time. Pure.

A call costs the gateway several times what a row does. As long as its thread has time to spare, calls may be small and
leave at once; when it has none, everybody waits for it, and fewer, larger calls let all be answered sooner.
"""

from typing import Final

# Share of the time that the thread runs or waits for a processor. A saturated gateway had .95 to .98 and one at 70 % of
# its rate .6 to .85, on a core of its own or with others.
_BUSY: Final = 0.9
_CALM: Final = 0.75
# Nothing shorter gathers many; it grows fast, since until then nobody has time, and shrinks slowly.
_FIRST_S: Final = 0.002
_GROWTH: Final = 4.0
# A tenth of what a call may take by default. Measured with 64 requests in flight and two arms, one core: 718 us of CPU a
# request and 47 ms without, 654 at 2 ms, 520 at 4, 405 and 27 ms at 8.
_LONGEST_S: Final = 0.008


class Gathering:
    """Mutable: the wait, and when and at what count of seconds it was looked at last."""

    def __init__(self) -> None:
        self._wait_s = 0.0
        self._looked_at = self._wanted_s = float("inf")

    def heard(self, wanted_s: float, now: float) -> float:
        """Return the wait from now on, in seconds; `wanted_s`: how long the thread has run or waited to, ever. It grows
        while the thread has no time to spare, and shrinks when it has some, to nothing at last."""
        passed_s = now - self._looked_at
        if passed_s > 0:
            share = (wanted_s - self._wanted_s) / passed_s
            if share >= _BUSY:
                self._wait_s = min(_LONGEST_S, max(_FIRST_S, _GROWTH * self._wait_s))
            elif share < _CALM:
                self._wait_s = self._wait_s / 2 if self._wait_s > _FIRST_S else 0.0
        self._looked_at, self._wanted_s = now, wanted_s
        return self._wait_s
