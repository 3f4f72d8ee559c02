"""What one refresh of the learner is asked, and what it answers: the values of the seam in `bandits.assess`."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bandits.alarm import Alarm
from bandits.delay import DelayLaw
from bandits.rules import Objective, Policy, StopRule
from bandits.sums import SEGMENTS_MAX, Sums

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ArmFacts:
    """An arm as the learner sees it: its cost now, whether it may get traffic, and its largest share.

    Arms of one `group` are the same model elsewhere: they share their rewards' statistics, and differ in cost.

    `is_cost_known`: the cost was confirmed in traffic. The posterior knows no error of a cost, so nothing is decided
    on one that was only estimated while warming.
    """

    name: str
    cost_usd: float
    is_live: bool = True
    max_share: float = 1.0
    is_cost_known: bool = True
    group: str | None = None

    def __post_init__(self) -> None:
        """Refuse costs that are no numbers and shares outside (0, 1]."""
        if not (math.isfinite(self.cost_usd) and self.cost_usd >= 0.0):
            raise ValueError(f"arm {self.name}: cost must be a finite number of at least 0, got {self.cost_usd}")
        if not 0.0 < self.max_share <= 1.0:
            raise ValueError(f"arm {self.name}: max_share must lie in (0, 1], got {self.max_share}")


@dataclass(frozen=True, slots=True)
class Question:
    """Everything one refresh depends on.

    `control` is an arm's number; `open_block` the number of the block that is still filling and `open_share` the part
    of it that has passed; `blocks_closed` counts the blocks before it; `age_s` the time since learning began.
    `starts_s` (rows,) is the age at which each row of the sums began, never falling; None: blocks all last
    `policy.block_s` and are numbered without gaps in time. Blocks cut short need it: what is ripe, and what belongs to
    the last cycle, is a question of time. `is_sprint` (rows,): the row was part of a sprint. `alarms` are the words of
    those that ring: nothing ends meanwhile. `requests_per_day` is the present traffic. `law`: how late conversions are;
    None: only decisions older than the window are learned from. `segments`: the same rows once more
    for each segment, adding up to `sums`; of binary rewards alone. One segment is none.
    """

    arms: tuple[ArmFacts, ...]
    control: int
    sums: Sums
    open_block: int
    age_s: float
    objective: Objective
    policy: Policy
    stop: StopRule
    blocks_closed: int
    open_share: float = 1.0
    starts_s: Floats | None = field(default=None, compare=False)
    is_sprint: Bools | None = field(default=None, compare=False)
    alarms: tuple[str, ...] = ()
    requests_per_day: float = 0.0
    law: DelayLaw | None = field(default=None, compare=False)
    segments: tuple[Sums, ...] = ()
    keeping_usd_day: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        if self.sums.decisions.shape[1] != len(self.arms) or not 0 <= self.control < len(self.arms):
            raise ValueError(
                f"{len(self.arms)} arms with control {self.control} do not fit sums of {self.sums.decisions.shape[1]}"
            )
        # Arms without traffic, those that were dropped among them, have no floor.
        live = sum(arm.is_live for arm in self.arms)
        if self.policy.floor * live > 0.5:
            raise ValueError(f"policy.floor x arms must be at most 0.5, got {self.policy.floor} x {live}")
        rows = self.sums.blocks.size
        if self.starts_s is not None and (self.starts_s.shape != (rows,) or (np.diff(self.starts_s) < 0).any()):
            raise ValueError(f"starts_s must be one age per row of {rows}, never falling, got {self.starts_s}")
        if self.is_sprint is not None and self.is_sprint.shape != (rows,):
            raise ValueError(f"is_sprint must be one per row of {rows}, got {self.is_sprint.shape}")
        if len(self.segments) > SEGMENTS_MAX or any(
            one.decisions.shape != (rows, len(self.arms)) for one in self.segments
        ):
            raise ValueError(f"segments must be at most {SEGMENTS_MAX}, of {rows} rows and {len(self.arms)} arms each")
        if self.segments and self.objective.reward_type != "binary":
            raise ValueError(f"segments are for binary rewards, got {self.objective.reward_type}")
        if not (math.isfinite(self.age_s) and 0.0 <= self.open_share <= 1.0):
            raise ValueError(f"age must be finite and open_share in 0..1, got {self.age_s}, {self.open_share}")

    @property
    def known_age_s(self) -> float:
        """How long ago learning began, as seen from the youngest decision whose outcome is certain."""
        waits_s = self.objective.window_s if self.objective.feedback == "conversions" else 0.0
        return self.age_s - waits_s

    def rivals(self, leader: int) -> list[int]:
        """Return the live arms but the leader."""
        return [number for number, arm in enumerate(self.arms) if arm.is_live and number != leader]

    def models(self) -> tuple[int, ...]:
        """Return which model each arm is, counted from 0 in the order of the arms; a group is one model."""
        names: dict[object, int] = {}
        return tuple(
            names.setdefault(number if arm.group is None else arm.group, len(names))
            for number, arm in enumerate(self.arms)
        )


@dataclass(frozen=True, slots=True)
class SprintFacts:
    """The confirmation sprint: whether its shares hold now, what it will still take from now on or from its beginning
    (requests, dollars; inf: unknown), what it has cost so far, and why it is not run although all else is there."""

    is_running: bool
    requests: float
    price_usd: float
    spent_usd: float
    refused: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class SegmentFacts:
    """What a refresh found of one segment; arrays are per arm (K,), as in `Assessment`.

    `traffic` is its part of all decisions. `evidence_log` and `refuted` are against its own `leader`, on its own strata,
    at the level alpha / segments. `serves`: the arm it is settled on, None while it goes on learning.
    """

    weights: Floats
    traffic: float
    serves: int | None
    leader: int
    p_best: Floats
    rate: Floats
    value_usd: Floats
    value_low: Floats
    value_high: Floats
    evidence_log: Floats
    refuted: Bools
    score: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Assessment:
    """What one refresh found; arrays are per arm (K,). Money is per prediction.

    `remaining_q95` is the 95 % quantile of the value remaining (a Bayesian figure) and `threshold` what it must not
    exceed, both shares of the leader's value, as the objective counts it (`score`). `refuted`: a confidence sequence
    excludes that the arm is better than the leader by more than `margin` (a share); then `evidence_log` is at least
    `evidence_bar_log`. `certified_gap` is the smallest such margin: no live challenger is more than this much better
    (95 %). `value_low`, `value_high` span 95 %. `drop`: what is lost without the arm, in the unit of `score`.
    `retire`: arms that may go now; `park`: dearer copies of the winner, which stay loaded. `is_over`: drained, and
    every live challenger refuted. `given_up_usd`: what the weights earn less than the leader would. `drift`: arms whose
    rewards are not what they were (modes without an end). `is_spent`: drained, for going on costs more than it brings.

    With `segments` the weights are those of all traffic: each segment's own, by its part. Then `is_over` asks more: each
    segment is settled, on the leader or on an arm of its own.
    """

    weights: Floats
    p_best: Floats
    leader: int
    rate: Floats
    value_usd: Floats
    value_low: Floats
    value_high: Floats
    remaining_q95: float
    threshold: float
    is_ready: bool
    not_ready: tuple[str, ...]
    is_drained: bool
    evidence_log: Floats
    evidence_bar_log: float
    refuted: Bools
    retire: tuple[int, ...]
    is_over: bool
    margin: float
    certified_gap: float
    drop: Floats
    score: Floats
    park: tuple[int, ...]
    given_up_usd: float
    sprint: SprintFacts
    worth_usd_day: float
    drift: tuple[Alarm, ...]
    segments: tuple[SegmentFacts, ...] = ()
    is_spent: bool = False
