"""The values of an experiment's life: its state, what happens to it, what it wants done, and its JSON.

The transitions between them are in `bandits.experiment`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from bandits.operation import Archive as Archive
from bandits.operation import Operation
from bandits.operation import Pause as Pause
from bandits.operation import Resume as Resume
from bandits.operation import Start as Start

Phase = Literal["draft", "warmup", "running", "confirming", "draining", "concluded", "archived", "paused"]
ArmState = Literal["pending", "warming", "eligible", "quarantined", "draining", "standby", "retired"]
Action = Literal["retire", "hold", "notify"]
Outcome = Literal["kept", "replaced", "undecided"]


@dataclass(frozen=True, slots=True)
class EndRules:
    """What happens to the losers: on_stop of design §7. Times in seconds; `max_duration_s` None: it never ends.

    `observed` are arms whose model server is not ours to reload: they stay in standby until somebody else unloads them.
    """

    action: Action = "retire"
    grace_s: float = 3600.0
    unload: bool = True
    max_duration_s: float | None = 14 * 86400.0
    observed: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse negative times."""
        if not (self.grace_s >= 0.0 and (self.max_duration_s is None or self.max_duration_s > 0.0)):
            raise ValueError(
                f"grace must be >= 0 and max_duration > 0 seconds, got {self.grace_s}, {self.max_duration_s}"
            )


@dataclass(frozen=True, slots=True)
class ArmLife:
    """One arm's state, since when (unix s) and why. `is_unloading`: its grace is over, the model server is to let go.
    `is_parked`: stays loaded: a copy of the winner, or in standby when the experiment ended. In quarantine: how many
    rests in a row this is, until when (unix s), and whether the arm is being tried; `bandits.quarantine` says when."""

    name: str
    state: ArmState = "pending"
    since: float = 0.0
    reason: str = ""
    is_unloading: bool = False
    is_parked: bool = False
    rests: int = 0
    rests_until: float | None = None
    is_trying: bool = False


@dataclass(frozen=True, slots=True)
class Life:
    """An experiment's state: a value, JSON-able, from which everything that must be going on follows.

    `started_at` (unix s) is when learning began; `resumes` the phase a paused experiment goes back to; `leader` and
    `weights` are the last assessed ones; `winner` and `outcome` are set when the end is decided, before the losers are
    gone; `reason` says why the phase is what it is, or what it waits for. `successor` is an arm that was promoted and
    serves as soon as it is warm; `is_promoted`: an operator chose the winner; `is_bypassed`: one wants control, or the
    winner, to serve all. With segments, `segment_weights` are each segment's, and `serves` is set with the winner: the
    arm that each segment keeps, which may be another one.
    """

    arms: tuple[ArmLife, ...]
    control: int
    rules: EndRules
    phase: Phase = "draft"
    since: float = 0.0
    reason: str = ""
    resumes: Phase | None = None
    started_at: float | None = None
    leader: int | None = None
    weights: tuple[float, ...] | None = None
    winner: int | None = None
    outcome: Outcome | None = None
    successor: int | None = None
    is_promoted: bool = False
    segment_weights: tuple[tuple[float, ...], ...] = ()
    serves: tuple[int, ...] = ()
    is_bypassed: bool = False

    @property
    def serving(self) -> int:
        """The arm that others are compared with: the winner, before there is one control."""
        return self.control if self.winner is None else self.winner

    def __post_init__(self) -> None:
        """Refuse a control that is no arm, and names that two arms share."""
        if not 0 <= self.control < len(self.arms):
            raise ValueError(f"control must be the number of an arm, 0..{len(self.arms) - 1}, got {self.control}")
        if len({arm.name for arm in self.arms}) != len(self.arms):
            raise ValueError(f"arms need names of their own, got {[arm.name for arm in self.arms]}")


@dataclass(frozen=True, slots=True)
class ArmWarmed:
    """The arm is loaded on every replica, its signature fits, and it is calibrated."""

    now: float
    arm: int


@dataclass(frozen=True, slots=True)
class ArmFailed:
    """The arm can't be loaded, does not fit, is no longer served, or has crossed a guardrail; `numbers` say how far."""

    now: float
    arm: int
    why: str
    numbers: Mapping[str, float] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Assessed:
    """One refresh of the learner; `numbers` are those from which it decided, for the history.

    At the end the arms in `park` are drained like the losers, and stay loaded. Of segments, each has its own weights,
    and at the end an arm that it is settled on: those in `serves` are kept. `not_ready`: why nothing may be decided yet.
    `is_spent`: it is drained because going on costs more than it brings. `is_held`: all that keeps it from being ready is
    rewards that are on their way to the store, for a moment: the phase stays.
    """

    now: float
    leader: int
    weights: tuple[float, ...]
    is_drained: bool
    is_over: bool
    retire: tuple[int, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    park: tuple[int, ...] = ()
    segment_weights: tuple[tuple[float, ...], ...] = ()
    serves: tuple[int, ...] = ()
    not_ready: tuple[str, ...] = ()
    is_spent: bool = False
    is_held: bool = False

    @property
    def why_drained(self) -> str:
        """Why nothing more is worth learning, in words."""
        return "going on costs more than it brings" if self.is_spent else "drained of its value"


@dataclass(frozen=True, slots=True)
class ArmIdle:
    """Nothing is in flight to the arm on any gateway, and each has seen its weight zero."""

    now: float
    arm: int


@dataclass(frozen=True, slots=True)
class Unloaded:
    """Every replica's own status says END for the arm."""

    now: float
    arm: int


@dataclass(frozen=True, slots=True)
class UnloadRefused:
    """The arm could not be unloaded; it stays in standby and is asked for again."""

    now: float
    arm: int
    why: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""

    now: float


@dataclass(frozen=True, slots=True)
class Drain:
    """An operator takes an arm out: no traffic, then standby, and when its grace is over it is unloaded."""

    now: float
    arm: int
    who: str = ""


@dataclass(frozen=True, slots=True)
class Restore:
    """An operator wants an arm back: at once while it is loaded, else when it is loaded and warmed."""

    now: float
    arm: int
    who: str = ""


@dataclass(frozen=True, slots=True)
class Retire:
    """An operator wants an arm unloaded as soon as nothing is in flight, without its grace."""

    now: float
    arm: int
    who: str = ""


@dataclass(frozen=True, slots=True)
class Promote:
    """An operator ends the experiment, or changes its end: this arm serves. Loaded and warmed if need be, routed to,
    and only then the others go, as losers do."""

    now: float
    arm: int
    who: str = ""


@dataclass(frozen=True, slots=True)
class Reopen:
    """An experiment that has ended begins anew with these arms, and `new` ones; `bandits.reopening` says when."""

    now: float
    arms: tuple[int, ...]
    why: str
    new: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)


ArmEvent = ArmWarmed | ArmFailed | ArmIdle | Unloaded | UnloadRefused
Order = Drain | Restore | Retire | Promote
"""What operators want of arms; `bandits.orders` says which are refused, and why."""
Event = ArmEvent | Order | Operation | Assessed | Reopen | Tick


@dataclass(frozen=True, slots=True)
class Warm:
    """Load, check and calibrate the arm; answer with ArmWarmed or ArmFailed."""

    arm: int


@dataclass(frozen=True, slots=True)
class Try:
    """See whether a quarantined arm is well again; answer with ArmWarmed or ArmFailed."""

    arm: int


@dataclass(frozen=True, slots=True)
class AwaitIdle:
    """See that the arm gets no traffic and wait until nothing is in flight; answer with ArmIdle."""

    arm: int


@dataclass(frozen=True, slots=True)
class Unload:
    """Have the model server let go of the arm; answer with Unloaded or UnloadRefused."""

    arm: int


Command = Warm | Try | AwaitIdle | Unload


@dataclass(frozen=True, slots=True)
class Note:
    """One line of the history: what changed (`phase` or an arm's name), from what to what, why, with which numbers."""

    now: float
    what: str
    before: str
    after: str
    why: str
    numbers: Mapping[str, float] = field(default_factory=dict)


def to_json(life: Life) -> dict[str, Any]:
    """Return the life as plain JSON values; `from_json` gives the equal life back."""
    return asdict(life)


def from_json(document: Mapping[str, Any]) -> Life:
    """Rebuild a life; unknown fields are refused (TypeError), absent ones take their defaults."""
    fields = dict(document)
    fields["arms"] = tuple(ArmLife(**arm) for arm in fields["arms"])
    rules = fields["rules"]
    fields["rules"] = EndRules(**{**rules, "observed": tuple(rules.get("observed", ()))})
    if fields.get("weights") is not None:
        fields["weights"] = tuple(fields["weights"])
    fields["segment_weights"] = tuple(tuple(one) for one in fields.get("segment_weights", ()))
    fields["serves"] = tuple(fields.get("serves", ()))
    return Life(**fields)
