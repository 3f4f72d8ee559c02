"""What the calls show of each operation: how many failed, how long they took, and whether a loser still got any. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from load.switching.open_loop import Call

# The bar of a switch: the slowest hundredth of the requests meanwhile.
P99_MAX_S = 1.0


@dataclass(frozen=True, slots=True)
class Window:
    """An operation, from its order until all of it was seen done; times in s on the sender's clock."""

    name: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Out:
    """An arm that is out: from when the gateway said that it was drained until it is brought back, or the end."""

    arm: str
    began: float
    ended: float = math.inf


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured in one window; times in seconds, from when a request was due."""

    name: str
    took_s: float
    requests: int
    failed: int
    p50_s: float
    p99_s: float
    max_s: float
    to_losers: int
    errors: tuple[str, ...] = ()

    @property
    def is_kept(self) -> bool:
        """Whether nothing failed, no loser got a request, and the switch was quick."""
        return self.failed == 0 and self.to_losers == 0 and self.p99_s < P99_MAX_S


def rows(windows: Sequence[Window], calls: Sequence[Call], outs: Sequence[Out]) -> list[Row]:
    """Judge each window by the calls that were due in it."""
    return [
        _row(window, [one for one in calls if window.began <= one.due_at < window.ended], outs) for window in windows
    ]


def _row(window: Window, calls: Sequence[Call], outs: Sequence[Out]) -> Row:
    took = sorted(one.seconds for one in calls)
    errors = [one.error for one in calls if one.error]
    return Row(
        name=window.name,
        took_s=window.ended - window.began,
        requests=len(calls),
        failed=len(errors),
        p50_s=quantile(took, 0.50),
        p99_s=quantile(took, 0.99),
        max_s=took[-1] if took else math.nan,
        to_losers=sum(one.arm == out.arm and out.began <= one.due_at < out.ended for one in calls for out in outs),
        errors=tuple(sorted(set(errors))[:3]),
    )


def quantile(ordered: Sequence[float], part: float) -> float:
    """Return the smallest value that at least this part of them does not exceed; nan of none."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)] if ordered else math.nan
