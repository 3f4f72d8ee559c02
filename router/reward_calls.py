"""What became of reward calls, by arm: the heartbeat of experiments whose lost rewards no arithmetic can find.

With conversions an arm whose rewards are lost looks like a bad arm (bandit-science.md, Part I §H). Whether calls arrive
at all, at which gateway, for which arm, and why they are refused, can only be counted.
"""

from collections import Counter, defaultdict
from typing import Final

OTHER_EVENT: Final = "other_event"
"""The result of calls for events that are not learned from: they say nothing of whether those that are arrive."""


class RewardCalls:
    """Counts of one worker since its start. Mutable; bounded by experiments × arms × results: whoever counts has
    verified the token."""

    def __init__(self) -> None:
        self._results: defaultdict[tuple[int, int], Counter[str]] = defaultdict(Counter)
        self._last_at: dict[int, float] = {}

    def count(self, epoch: int, arm: int, result: str, now: float) -> None:
        """Count a call for a decision of this experiment and arm; `result` is its label in the metrics, or OTHER_EVENT."""
        self._results[epoch, arm][result] += 1
        if result != OTHER_EVENT:
            self._last_at[epoch] = now

    def of(self, epoch: int, arm: int) -> dict[str, int]:
        """Return how many calls ended how."""
        return dict(self._results.get((epoch, arm), ()))

    def last_at(self, epoch: int) -> float | None:
        """Return when the last call for the event that is learned from came (unix s); None when there was none."""
        return self._last_at.get(epoch)
