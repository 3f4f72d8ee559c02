"""The sections of an experiment as people write it: their fields, the defaults and why."""

from typing import Annotated, Literal, Self

from pydantic import Field, Strict, model_validator

from router.config.document import Document, Problem, refuse
from router.config.fields import DAY, HOUR, MINUTE, AutoFloat, Duration, Name
from router.snapshot import EVENT_CHARS_MAX


class Arm(Document):
    """One servable that competes: a version of a model on a backend. Its price is the backend's."""

    name: Name
    backend: Name = Field(description="the name of one of the backends")
    # The public name when absent: most experiments compare versions of one model.
    model: str = Field(default="", min_length=1)
    version: int = Field(ge=0, description="the version's number on the model server; an arm is never 'the latest'")
    # No cap: an arm that earns most gets all but the floors.
    max_share: float = Field(default=1.0, gt=0, le=1)
    # Arms of a group are the same model elsewhere and share their reward statistics; null: a group of its own.
    reward_group: Name | None = None


class Reward(Document):
    """What comes back, and when."""

    # Clicks and right answers are the common case; its range needs no thought.
    type: Literal["binary", "continuous", "count"] = "binary"
    # [lowest, highest]; rewards outside are refused, and all arithmetic is on [0, 1].
    range: Annotated[tuple[float, float], Strict(False)] = (0.0, 1.0)
    # Long enough for a click, short enough that a decision's block closes within the hour.
    window: Duration = Field(default=30 * MINUTE, gt=0)
    # A decision without a reward says nothing, unless the caller only ever reports conversions.
    feedback: Literal["explicit", "conversions"] = "explicit"
    # The one event that is learned from; the client's own default. A decision is one trial, however much is told of it:
    # when each of two or four events that agree counted, one of two equal arms was refuted at 5 % in 8 or 27 % of runs.
    event: str = Field(default="default", min_length=1, max_length=EVENT_CHARS_MAX)

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        low, high = self.range
        if not low < high:
            problems.append(Problem(("range",), f"must be [low, high] with low < high; got [{low:g}, {high:g}]"))
        elif self.type == "binary" and self.range != (0.0, 1.0):
            problems.append(Problem(("range",), f"must be [0, 1] for type binary; got [{low:g}, {high:g}]"))
        elif self.type == "count" and (low != 0 or not high.is_integer() or "range" not in self.model_fields_set):
            problems.append(Problem(("range",), "must be given for type count: [0, N] with N a whole number"))
        refuse(problems)
        return self


class Objective(Document):
    """What an arm is to earn."""

    # Money per prediction, reward less cost: the question most people have.
    kind: Literal["net", "ratio", "cheapest_within_margin"] = "net"
    value_usd: float = Field(gt=0, description="what a reward of 1 is worth, in dollars")
    reward: Reward = Reward()


class Prior(Document):
    """What is believed of every arm's reward, scaled to [0, 1], before the first one comes."""

    # Rewards of served predictions are mostly rare; a low mean keeps an untried arm from taking the traffic at once.
    mean: float = Field(default=0.05, gt=0, lt=1)
    # Worth as much as this many rewards: forgotten after `stop.min_per_arm`.
    strength: float = Field(default=20.0, gt=0)


class Policy(Document):
    """How traffic is split while nobody has won."""

    # Shares by the probability of being best. ids: by what is learned for what is lost; 10 to 30 % less regret from five
    # arms on, with heavier tails (measured in reference/bandit-science.md).
    kind: Literal["thompson", "ids"] = "thompson"
    # 1 %: less starves the losing arms, so that no valid test could ever end the experiment (measured).
    floor: float = Field(default=0.01, gt=0, lt=1)
    # Weights are computed anew this often; a price change takes effect within it.
    refresh: Duration = Field(default=1.0, ge=0.1)
    # Statistics are summed over slices this long, within which the world may be taken as steady.
    block: Duration = Field(default=15 * MINUTE, ge=1)
    # Between two moves of weights because of a price: feeds flap.
    hold: Duration = 10 * MINUTE
    # `always_on` forgets beyond a day, the cycle of most traffic.
    memory: Duration = Field(default=DAY, gt=0)
    # Each request is drawn for itself; sticky only where a person would notice a change. Then each unit counts once, with
    # its first decision: as many outcomes as there are units, however many requests they make.
    sticky: bool = False
    # Values of `turpin-segment` that get weights of their own, such as countries; all others together are one more. They
    # share what is common to them. Off: they have to be sent with each request, and cost time where arms earn alike
    # everywhere.
    segments: Annotated[tuple[str, ...], Strict(False)] = ()
    prior: Prior = Prior()


class Guardrail(Document):
    """A bound that no arm may cross, however much it earns: one that does gets no traffic until it is well again.

    `error_ratio`: of an arm's calls to its backend the share that fails, clients' own faults left out.
    `backend_p99_ms`: what no more than one call in a hundred may take longer than.
    `cost_usd_per_day`: what the arm may be billed within 24 hours.
    """

    metric: Literal["error_ratio", "backend_p99_ms", "cost_usd_per_day"]
    max: float = Field(gt=0, description="the largest value allowed")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.metric == "error_ratio" and self.max >= 1:
            refuse([Problem(("max",), f"must be less than 1 for error_ratio; got {self.max:g}")])
        return self


class Sprint(Document):
    """The last stretch: the leader holds a fixed share so that the others get enough to be judged."""

    # 60 % to the leader ends the experiment soonest for what it costs (measured in reference/bandit-science.md).
    leader: float = Field(default=0.6, gt=0, lt=1)
    # No cap: its price is shown beforehand.
    max_usd: float | None = Field(default=None, ge=0)


class Stop(Document):
    """When the experiment has nothing more to give. Durations count from the end of the warm-up."""

    # What may remain unearned, as a share of the leader's value, when it ends.
    delta: float = Field(default=0.01, gt=0, lt=1)
    # "No arm is more than this much better" is what is tested; auto: 1 to 5 % by the noise of the reward.
    margin: AutoFloat = "auto"
    # The chance of ever ruling out an arm that was better by more than the margin.
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    # Below this many rewards normal approximations are not worth looking at.
    min_per_arm: int = Field(default=200, ge=1)
    # The evidence decides; a minimum is only for those who want to watch.
    min_age: Duration = 0.0
    # Most traffic has a daily rhythm; a winner must have been seen through one. null: none declared.
    cycle: Duration | None = Field(default=DAY, gt=0)
    min_cycles: int = Field(default=1, ge=1)
    # Two weeks undecided: the arms earn alike; weights freeze and nothing is unloaded.
    max_duration: Duration = Field(default=14 * DAY, gt=0)
    # null: none; then mostly max_duration ends the experiment, undecided.
    sprint: Sprint | None = Sprint()
    # Off: value decides. On: also drained once going on until max_duration costs more than it brings, machines that only
    # losing arms keep on included; that no challenger is better has to be shown all the same.
    idle_counts: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        if isinstance(self.margin, float) and not 0 < self.margin < 1:
            problems.append(Problem(("margin",), f"must be auto, or more than 0 and less than 1; got {self.margin:g}"))
        least = max(self.min_age, (self.cycle or 0.0) * self.min_cycles)
        if self.max_duration <= least:
            wanted = f"must be more than min_age and than cycle × min_cycles, {least:g} s"
            problems.append(Problem(("max_duration",), f"{wanted}; got {self.max_duration:g} s"))
        refuse(problems)
        return self


class OnStop(Document):
    """What happens to the losers."""

    # The point of Turpin. hold: route to the winner, keep the models loaded; notify: only say so.
    action: Literal["retire", "hold", "notify"] = "retire"
    # Long enough for a person to be told and to object; the models stay loaded until then.
    grace: Duration = HOUR
    unload: bool = True


class Batching(Document):
    """How far requests of this model may be merged."""

    # What a person takes for immediate, less what the network takes.
    latency_ms: float = Field(default=80.0, gt=0)
    # Beyond it GPUs gain little and memory is at risk.
    max_rows: int = Field(default=256, ge=1)
    # Row counts the model was compiled for; batches are padded up to them. None: any.
    allowed_rows: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Strict(False)] = ()
    # Ask an arm that warms, with made-up rows, whether its rows depend on one another; one whose do is never merged.
    probe: bool = False


class Shadow(Document):
    """Copies of requests that were answered, sent to arms that do not answer them, and compared; never learned from."""

    # None: nothing is copied.
    arms: Annotated[tuple[Name, ...], Strict(False)] = ()
    # Of the requests that another arm answered. One in twenty shows a difference of 1 % within some thousand requests.
    share: float = Field(default=0.05, gt=0, le=1)
    # Whose answers the copies' are compared with; none named: those of every other arm.
    against: Annotated[tuple[Name, ...], Strict(False)] = ()
    # A worker has no more copies under way to an arm; what comes then is not copied. Half of what `max_in_flight: auto`
    # of a backend goes up to.
    max_in_flight: int = Field(default=4, ge=1, le=64)
    # A copy that takes longer is given up: nobody waits for it, but the model server works on it.
    timeout: Duration = Field(default=5.0, ge=0.001, le=MINUTE)
    # Numbers that are no classes agree if they differ by no more than this share of the larger one: half precision
    # differs by 0.1 %.
    tolerance: float = Field(default=0.01, ge=0, le=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = [
            Problem((field, position), f"'{name}' is there twice")
            for field, names in (("arms", self.arms), ("against", self.against))
            for position, name in enumerate(names)
            if name in names[:position]
        ]
        fields = type(self).model_fields
        if not self.arms and any(getattr(self, name) != fields[name].default for name in fields):
            problems.append(Problem(("arms",), "must name the arms that get copies, or the section must be {}"))
        if len(self.arms) == 1 and set(self.against) == set(self.arms):
            problems.append(
                Problem(("against",), f"must name another arm than '{self.arms[0]}', which gets the copies")
            )
        refuse(problems)
        return self
