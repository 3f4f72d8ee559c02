"""What an experiment wants and when it may end: the settings that the arithmetic reads, checked once."""

import math
from dataclasses import dataclass
from typing import Literal

ObjectiveKind = Literal["net", "ratio", "cheapest_within_margin"]
RewardType = Literal["binary", "continuous", "count"]
Feedback = Literal["explicit", "conversions"]
PolicyKind = Literal["thompson", "ids"]
Mode = Literal["experiment", "always_on", "observe"]


@dataclass(frozen=True, slots=True)
class Objective:
    """What a reward is, and what it is worth.

    `value_usd` is the money for a reward of 1; `low` and `high` are the declared range of a reward; after `window_s`
    seconds a reward is no longer awaited. Feedback is `explicit` when 0 and 1 are both reported, `conversions` when
    silence means 0.
    """

    value_usd: float
    kind: ObjectiveKind = "net"
    reward_type: RewardType = "binary"
    low: float = 0.0
    high: float = 1.0
    # Half an hour: design §7.
    window_s: float = 1800.0
    feedback: Feedback = "explicit"

    def __post_init__(self) -> None:
        """Refuse a worthless reward and an impossible range."""
        _require_positive("value_usd", self.value_usd)
        _require_positive("window_s", self.window_s)
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"the reward's range must be finite with low < high, got [{self.low}, {self.high}]")
        if self.reward_type == "binary" and (self.low, self.high) != (0.0, 1.0):
            raise ValueError(f"a binary reward has the range [0, 1], got [{self.low}, {self.high}]")
        if self.feedback == "conversions" and not self.low <= 0.0 <= self.high:
            raise ValueError(f"of conversions silence is 0: the range must hold it, got [{self.low}, {self.high}]")

    @property
    def silence(self) -> float:
        """What a decision without a reward earns once the window has passed, 0, as a share of the range."""
        return -self.low / (self.high - self.low)


@dataclass(frozen=True, slots=True)
class Policy:
    """How traffic is spread, and how time is cut.

    `thompson` spreads it by the probability of being best, `ids` by what is learned for what is lost. `floor` is the
    least share of a live arm; the prior says what rate is expected (`prior_mean`, a share of the reward's range) and
    how many requests that belief is worth (`prior_strength`); `block_s` is the length of a block. Mode `always_on`
    never ends and forgets blocks older than `memory_s`; in `observe` control gets all traffic.
    """

    kind: PolicyKind = "thompson"
    mode: Mode = "experiment"
    # A day, the cycle of most traffic: design §7.
    memory_s: float = 86400.0
    # Without a floor the losers starve and nothing can be shown about them (bandit-science.md, Part II §0).
    floor: float = 0.01
    prior_mean: float = 0.05
    prior_strength: float = 20.0
    # A quarter of an hour: short against a day's rhythm (bandit-science.md, Part II §2).
    block_s: float = 900.0

    def __post_init__(self) -> None:
        """Refuse shares and priors that no arithmetic could follow."""
        if not 0.0 <= self.floor <= 0.5:
            raise ValueError(f"policy.floor must be in 0..0.5, got {self.floor}")
        if not 0.0 < self.prior_mean < 1.0:
            raise ValueError(f"policy.prior.mean must lie between 0 and 1, got {self.prior_mean}")
        _require_positive("policy.prior.strength", self.prior_strength)
        _require_positive("policy.block", self.block_s)
        _require_positive("policy.memory", self.memory_s)


@dataclass(frozen=True, slots=True)
class StopRule:
    """When an experiment is drained of its value, and what has to be shown before it ends.

    `delta`: value remaining below this share of the leader's value is nothing; `margin`: no challenger better by more
    than this share (None: from the noise of the reward, 1 to 5 %); `alpha`: the chance of a false claim allowed over
    the whole experiment; `cycle_s`: the declared rhythm of the traffic (None: none declared); `sprint_leader`: the
    leader's share in the sprint (None: no sprint), which is not begun or goes no further beyond `sprint_max_usd`;
    `idle_counts`: also drained when going on costs more than it brings, machines kept on for losers alone included.
    """

    delta: float = 0.01
    margin: float | None = None
    alpha: float = 0.05
    min_per_arm: int = 200
    min_age_s: float = 0.0
    cycle_s: float | None = 86400.0
    min_cycles: float = 1.0
    # Two weeks: two weekends.
    max_duration_s: float = 14 * 86400.0
    sprint_leader: float | None = 0.6
    sprint_max_usd: float | None = None
    idle_counts: bool = False

    def __post_init__(self) -> None:
        """Refuse probabilities and times outside their ranges."""
        _require_share("stop.delta", self.delta)
        _require_share("stop.alpha", self.alpha)
        if self.sprint_leader is not None:
            _require_share("stop.sprint.leader", self.sprint_leader)
        if self.sprint_max_usd is not None and not self.sprint_max_usd >= 0.0:
            raise ValueError(f"stop.sprint.max_usd must be at least 0, got {self.sprint_max_usd}")
        if self.margin is not None:
            _require_share("stop.margin", self.margin)
        if self.cycle_s is not None:
            _require_positive("stop.cycle", self.cycle_s)
        if self.min_per_arm < 1:
            raise ValueError(f"stop.min_per_arm must be at least 1, got {self.min_per_arm}")
        for name, number in (("min_age", self.min_age_s), ("min_cycles", self.min_cycles)):
            if not (math.isfinite(number) and number >= 0.0):
                raise ValueError(f"stop.{name} must be a finite number of at least 0, got {number}")
        _require_positive("stop.max_duration", self.max_duration_s)


def _require_positive(name: str, number: float) -> None:
    if not (math.isfinite(number) and number > 0.0):
        raise ValueError(f"{name} must be a finite number above 0, got {number}")


def _require_share(name: str, number: float) -> None:
    if not 0.0 < number < 1.0:
        raise ValueError(f"{name} must lie between 0 and 1, got {number}")
