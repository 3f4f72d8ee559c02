"""What the run earned, and what an equal split would have: arithmetic, both on one basis."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Two-sided 95 % of a normal distribution.
_Z = 1.959964


@dataclass(frozen=True, slots=True)
class ArmMoney:
    """One arm's requests and right answers, and what one of its predictions costs for deciding (dollars)."""

    name: str
    requests: int
    right: int
    cost_usd: float
    # For an arm that was never asked: what the learner believes.
    believed_rate: float = 0.0

    @property
    def rate(self) -> float:
        """The part of its answers that were right."""
        return self.right / self.requests if self.requests else self.believed_rate

    def prediction_value_usd(self, value_usd: float) -> float:
        """What one prediction earns: reward less cost."""
        return value_usd * self.rate - self.cost_usd


def earned_usd(arms: Sequence[ArmMoney], value_usd: float) -> float:
    """What the run earned: Σ value_usd · reward − cost for deciding."""
    return math.fsum(value_usd * arm.right - arm.cost_usd * arm.requests for arm in arms)


def equal_split_usd(arms: Sequence[ArmMoney], value_usd: float) -> float:
    """What an equal split of the same requests would have earned, each arm at its own rate and cost."""
    requests = sum(arm.requests for arm in arms)
    return requests * math.fsum(arm.prediction_value_usd(value_usd) for arm in arms) / len(arms)


def interval(right: int, requests: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a rate; (0, 1) for no requests. Source: Wilson 1927, JASA 22."""
    if not requests:
        return 0.0, 1.0
    rate, z2 = right / requests, _Z * _Z
    centre = (rate + z2 / (2 * requests)) / (1 + z2 / requests)
    half = _Z / (1 + z2 / requests) * math.sqrt(rate * (1 - rate) / requests + z2 / (4 * requests * requests))
    return max(0.0, centre - half), min(1.0, centre + half)
