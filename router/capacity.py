"""Keeps requests to a backend within its capacity, second by second: one count per backend on each worker."""

from collections import deque


class Capacity:
    """The last requests to each backend that has a capacity. Mutable: their times, as many as a second may hold."""

    def __init__(self) -> None:
        self._sent: dict[str, deque[float]] = {}

    def take(self, backend: str, rps_max: float, now: float) -> bool:
        """Count a request to the backend if one more fits; `rps_max` a second, or less often than that, `now` in s."""
        window_s, most = (1.0, int(rps_max)) if rps_max >= 1.0 else (1.0 / rps_max, 1)
        sent = self._sent.setdefault(backend, deque())
        while sent and now - sent[0] >= window_s:
            sent.popleft()
        if len(sent) >= most:
            return False
        sent.append(now)
        return True
