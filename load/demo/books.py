"""What the client itself has seen: requests, right answers and failures, per arm and per second."""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class ArmCount:
    """Answers of one arm, and how many were right. Mutable: both."""

    requests: int = 0
    right: int = 0


class Books:
    """The client's own counts. Mutable: all of them."""

    def __init__(self, arms: tuple[str, ...], clock: Callable[[], float]) -> None:
        self._clock = clock
        self.arms = {arm: ArmCount() for arm in arms}
        # By message: a failure is never more than a few kinds, and their words say where to look.
        self.failures: Counter[str] = Counter()
        # By whole second since the first request: what the picture is drawn from.
        self.seconds: defaultdict[int, Counter[str]] = defaultdict(Counter)
        self.started: float | None = None

    def elapsed_s(self) -> float:
        """Seconds since the first request; 0 before it."""
        return 0.0 if self.started is None else self._clock() - self.started

    def start(self) -> None:
        """Begin to count time."""
        self.started = self._clock()

    def answered(self, arm: str, is_right: bool) -> None:
        """Count an answer of `arm`."""
        count = self.arms.setdefault(arm, ArmCount())
        count.requests += 1
        count.right += is_right
        self.seconds[int(self.elapsed_s())][arm] += 1

    def failed(self, message: str) -> None:
        """Count a failure by its message."""
        self.failures[message] += 1

    @property
    def answers(self) -> int:
        """Requests that were answered."""
        return sum(count.requests for count in self.arms.values())

    @property
    def failed_total(self) -> int:
        """Requests that were not."""
        return self.failures.total()

    @property
    def requests(self) -> int:
        """All requests that have ended, one way or the other."""
        return self.answers + self.failed_total

    def shares(self) -> dict[str, float]:
        """The part of the answers each arm gave; zeros before the first."""
        total = self.answers
        return {arm: count.requests / total if total else 0.0 for arm, count in self.arms.items()}
