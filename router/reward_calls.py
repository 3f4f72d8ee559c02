"""What became of reward calls, by arm: the heartbeat of experiments whose lost rewards no arithmetic can find.

With conversions an arm whose rewards are lost looks like a bad arm (bandit-science.md, Part I §H). Whether calls arrive
at all, at which gateway, for which arm, and why they are refused, can only be counted.
"""

from collections import Counter, defaultdict


class RewardCalls:
    """Counts of one worker since its start. Mutable; bounded by experiments × arms × results: whoever counts has
    verified the token."""

    def __init__(self) -> None:
        self._results: defaultdict[tuple[int, int], Counter[str]] = defaultdict(Counter)
        self._last_at: dict[int, float] = {}

    def count(self, epoch: int, arm: int, result: str, now: float) -> None:
        """Count a call for a decision of this experiment and arm; `result` is its label in the metrics."""
        self._results[epoch, arm][result] += 1
        self._last_at[epoch] = now

    def of(self, epoch: int, arm: int) -> dict[str, int]:
        """Return how many calls ended how."""
        return dict(self._results.get((epoch, arm), ()))

    def last_at(self, epoch: int) -> float | None:
        """Return when the last call came (unix s); None when there was none."""
        return self._last_at.get(epoch)
