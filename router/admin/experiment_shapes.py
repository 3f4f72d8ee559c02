"""What the admin port answers of experiments, as models: see shapes.py."""

from typing import Annotated, Any, Literal

from pydantic import Field

from router.admin.shapes import Shape, UnixS, Wide
from router.config.experiment import Experiment

Epoch = Annotated[str, Field(pattern="^[0-9a-f]{16}$", description="the experiment's random id, of this epoch")]


class MoneyEarned(Shape):
    """What the epoch's requests earned, what control alone would have, and the difference with its 95 % interval; by the
    arms' estimated values, null where one of them is not known."""

    requests: int
    earned_usd: float | None
    always_control_usd: float | None
    difference_usd: float | None
    difference_usd_low: float | None
    difference_usd_high: float | None


class ExperimentRow(Shape):
    """An experiment in brief."""

    name: str
    model: str
    phase: str
    control: str
    leader: str | None
    winner: str | None
    outcome: str | None
    bypassed: bool
    alarms: Annotated[int, Field(ge=0, description="how many ring")]
    shares: Annotated[dict[str, float], Field(description="each arm's share of the traffic; empty before the first")]
    money: MoneyEarned | None


class ExperimentList(Shape):
    """All experiments."""

    experiments: list[ExperimentRow]


class ExperimentShown(Shape):
    """One experiment as specified; its ETag stands for all of this."""

    name: str
    revision: Annotated[int, Field(ge=1)]
    epoch: Epoch
    spec: Experiment


class ArmBrief(Shape):
    """Where an arm stands."""

    name: str
    state: str
    reason: str


class Changed(Shape):
    """Where an experiment stands after a change."""

    name: str
    revision: Annotated[int, Field(ge=1)]
    epoch: Epoch
    phase: str
    reason: str
    winner: str | None
    outcome: str | None
    bypassed: bool
    arms: list[ArmBrief]


class Standing(Changed):
    """Where an experiment stands, and each arm's share of the traffic."""

    shares: dict[str, float]


class Foreseen(Shape):
    """What an order would do: where the experiment stands, where it would, and what its history would tell."""

    before: Standing
    after: Standing
    notes: list["Note"]


class OrderRow(Shape):
    """An order, to the experiment or to one of its arms, and why it would be refused now (empty: it would not)."""

    order: str
    arm: str | None
    refusal: str


class OrderList(Shape):
    """All orders, and the role that they want."""

    role: Literal["operator"]
    orders: list[OrderRow]


class AppliedHere(Shape):
    """Done on this gateway alone: the store is away."""

    name: str
    applied: Literal["here"]
    detail: str


class Difference(Wide):
    """One value that would change."""


class Predicted(Shape):
    """What the learner would come to at its next refresh, every arm warm."""

    shares: dict[str, float]
    value_usd_per_million: float | None
    cost_usd_per_million: float
    value_usd_day: float | None
    costs_assumed: list[str]


class BeforeAndAfter(Shape):
    """Without the change (null for a new experiment), and with it."""

    before: Predicted | None
    after: Predicted


class Forecast(Shape):
    """What a change would do."""

    diff: list[Difference]
    predicted: BeforeAndAfter


class ArmRow(Shape):
    """An arm, its state and why."""

    name: str
    number: int
    backend: str
    model: str
    version: int
    state: str
    since: UnixS | None
    reason: str
    dropped: bool


class ArmList(Shape):
    """All arms an experiment has had."""

    arms: list[ArmRow]


class ArmState(Wide):
    """An arm's numbers over the epoch; money per prediction."""

    name: str
    state: str
    weight: float
    decisions: int
    rows: int
    rewards: int
    reward_sum: float
    pending: int
    errors: int
    rate: float | None
    cost_usd: float
    prediction_cost_usd: float | None
    value_usd: float | None
    value_usd_low: float | None
    value_usd_high: float | None
    best_probability: float | None
    evidence_log: float | None


class ShadowState(Wide):
    """What copies to an arm, or to a version that is being deployed, came to."""

    arm: str
    version: int
    backend: str
    is_deployment: bool
    share: float
    against: list[str]
    waits_for: str | None
    since: UnixS
    requests: int
    mirrored: int
    compared: int
    agreed: int
    differing: int
    agreement: float | None
    errors: dict[str, int]
    dropped: dict[str, int]
    answered_ms: dict[str, float | None]
    shadow_ms: dict[str, float | None]
    outputs: dict[str, dict[str, Any]]
    cost_usd: float


class State(Wide):
    """The numbers behind an experiment's decisions."""

    name: str
    model: str
    phase: str
    epoch: Epoch
    control: str
    leader: str | None
    snapshot_version: int
    snapshot_age_s: float
    value_remaining: dict[str, Any] | None
    continuing: dict[str, Any] | None
    retiring: dict[str, Any] | None
    evidence_bar_log: float | None
    alarms: list[Any]
    arms: list[ArmState]
    shadow: list[ShadowState]
    money: MoneyEarned


class Note(Shape):
    """One change of an experiment, with its cause and numbers."""

    now: UnixS
    what: str
    before: str
    after: str
    why: str
    numbers: dict[str, Any] = Field(default_factory=dict)


class History(Shape):
    """A page of an experiment's history; `next` is there if there are older entries."""

    history: list[Note]
    next: str | None = None


class Report(Wide):
    """What happened, what it earned, and why it stopped."""
