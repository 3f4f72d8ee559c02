"""How long a call takes by its rows: a line through the last calls, in which the past fades. Pure."""

from typing import Final

# A call weighs half as much after 11 more: of a doubled latency the line knows within a second at 30 ms a call.
_FORGET: Final = 15 / 16


class LatencyLine:
    """The seconds of a call by its rows, `a + b·rows`, a and b >= 0: least squares in which the past fades. Mutable."""

    __slots__ = ("_b", "_n", "_x", "_xx", "_xy", "_y")

    def __init__(self) -> None:
        self._n = self._x = self._y = self._xx = self._xy = 0.0
        self._b: float | None = None

    def add(self, rows: int, seconds: float) -> None:
        """Take note of a call."""
        self._n = self._n * _FORGET + 1.0
        self._x = self._x * _FORGET + rows
        self._y = self._y * _FORGET + seconds
        self._xx = self._xx * _FORGET + rows * rows
        self._xy = self._xy * _FORGET + rows * seconds
        spread = self._n * self._xx - self._x * self._x
        # Sizes that hardly differ say nothing of the slope: it stays, as far as the mean allows.
        if spread > 0.04 * self._x * self._x:
            self._b = (self._n * self._xy - self._x * self._y) / spread
        if self._b is not None:
            self._b = min(max(0.0, self._b), self._y / self._x)

    @property
    def is_known(self) -> bool:
        """Whether sizes have differed, so that what a call costs is told from what a row does."""
        return self._b is not None

    def seconds(self, rows: float) -> float:
        """Say what a call of so many rows takes; 0 while nothing is known."""
        if not self._n:
            return 0.0
        # Before sizes have differed, half is taken to be the call's and half the rows'.
        b = self._y / self._x / 2 if self._b is None else self._b
        return max(0.0, (self._y - b * self._x) / self._n) + b * rows
