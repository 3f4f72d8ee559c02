"""The experiment as people write it, every check that needs no other document, and what the arithmetic reads of it."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, Strict, model_validator

from bandits import life, rules
from bandits.sums import SEGMENTS_MAX
from router.config.document import Document, Problem, refuse, shown, there_are
from router.config.experiment_sections import Arm, Batching, Guardrail, Objective, OnStop, Policy, Shadow, Stop
from router.config.fields import Name, format_duration

# Exploring costs floor × arms of the traffic whatever is known; more than half would be a split, not a bandit.
FLOOR_SUM_MAX: Final = 0.5
# The segment of requests that carry none of the declared values.
REST: Final = "other"
# Values are keys, such as countries or tenants, and labels of metrics.
SEGMENT_CHARS_MAX: Final = 64
# The position of an arm travels in the decision token as 16 bits; far fewer fit a page, or can be told apart.
ARMS_MAX: Final = 64


class Experiment(Document):
    """One experiment: the arms behind one public model name, what they are to earn, and when it ends."""

    name: Name
    model: str = Field(min_length=1, description="the model name clients call")
    # The label TF Serving's own documents use for "in production": who asks for it means the model, not a version.
    entry_labels: Annotated[tuple[str, ...], Strict(False)] = ("stable",)
    control: Name = Field(description="the arm that would serve if there were no experiment")
    arms: Annotated[tuple[Arm, ...], Strict(False)] = Field(min_length=2, max_length=ARMS_MAX)
    mode: Literal["experiment", "always_on", "observe"] = "experiment"
    objective: Objective
    policy: Policy = Policy()
    guardrails: Annotated[tuple[Guardrail, ...], Strict(False)] = ()
    stop: Stop = Stop()
    on_stop: OnStop = OnStop()
    reopen_on: Annotated[tuple[Literal["price", "drift", "new_arm"], ...], Strict(False)] = (
        "price",
        "drift",
        "new_arm",
    )
    batching: Batching = Batching()
    shadow: Shadow = Shadow()

    @model_validator(mode="before")
    @classmethod
    def _fill_model(cls, data: Any) -> Any:
        """Give arms that name no model the experiment's."""
        if not (
            isinstance(data, Mapping) and isinstance(data.get("model"), str) and isinstance(data.get("arms"), list)
        ):
            return data
        arms = [{"model": data["model"], **arm} if isinstance(arm, Mapping) else arm for arm in data["arms"]]
        return {**data, "arms": arms}

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = (
            *(_arm_problems, _split_problems, _segment_problems, _time_problems, _feedback_problems),
            _shadow_problems,
        )
        refuse([problem for find in problems for problem in find(self)])
        return self

    def arm(self, name: str) -> int:
        """Return the position of the arm called `name`; KeyError when there is none."""
        for position, arm in enumerate(self.arms):
            if arm.name == name:
                return position
        raise KeyError(name)

    def segment_names(self) -> tuple[str, ...]:
        """Return the names of all segments, the rest first; none when none are declared."""
        return (REST, *self.policy.segments) if self.policy.segments else ()

    def objective_rules(self) -> rules.Objective:
        """Return the objective as the arithmetic reads it."""
        reward = self.objective.reward
        return rules.Objective(
            value_usd=self.objective.value_usd,
            kind=self.objective.kind,
            reward_type=reward.type,
            low=reward.range[0],
            high=reward.range[1],
            window_s=reward.window,
            feedback=reward.feedback,
        )

    def policy_rules(self) -> rules.Policy:
        """Return the policy as the arithmetic reads it."""
        policy = self.policy
        return rules.Policy(
            kind=policy.kind,
            floor=policy.floor,
            prior_mean=policy.prior.mean,
            prior_strength=policy.prior.strength,
            block_s=policy.block,
            mode=self.mode,
            memory_s=policy.memory,
        )

    def stop_rules(self) -> rules.StopRule:
        """Return the stop rule as the arithmetic reads it."""
        stop = self.stop
        return rules.StopRule(
            delta=stop.delta,
            margin=None if stop.margin == "auto" else stop.margin,
            alpha=stop.alpha,
            min_per_arm=stop.min_per_arm,
            min_age_s=stop.min_age,
            cycle_s=stop.cycle,
            min_cycles=stop.min_cycles,
            max_duration_s=stop.max_duration,
            sprint_leader=None if stop.sprint is None else stop.sprint.leader,
            sprint_max_usd=None if stop.sprint is None else stop.sprint.max_usd,
            idle_counts=stop.idle_counts,
        )

    def end_rules(self) -> life.EndRules:
        """Return what happens at the end as the state machine reads it."""
        end = self.on_stop
        longest_s = self.stop.max_duration if self.mode == "experiment" else None
        return life.EndRules(action=end.action, grace_s=end.grace, unload=end.unload, max_duration_s=longest_s)


def _arm_problems(experiment: Experiment) -> Iterable[Problem]:
    names = [arm.name for arm in experiment.arms]
    if experiment.control not in names:
        message = f"must name an arm; got '{experiment.control}', {there_are(names)}"
        yield Problem(("control",), message)
    by_servable: dict[tuple[str, str, int], str] = {}
    for position, arm in enumerate(experiment.arms):
        if arm.name in names[:position]:
            yield Problem(("arms", position, "name"), f"'{arm.name}' is there twice; arms need names of their own")
        servable = (arm.backend, arm.model, arm.version)
        if servable in by_servable:
            where = f"version {arm.version} of '{arm.model}' on '{arm.backend}'"
            yield Problem(("arms", position), f"is {where}, as arm '{by_servable[servable]}' is: nothing to compare")
        by_servable.setdefault(servable, arm.name)


def _split_problems(experiment: Experiment) -> Iterable[Problem]:
    policy, count = experiment.policy, len(experiment.arms)
    if policy.floor * count > FLOOR_SUM_MAX:
        at_most = f"must be at most {FLOOR_SUM_MAX / count:.4g} with {count} arms (floor × arms ≤ {FLOOR_SUM_MAX:g})"
        yield Problem(("policy", "floor"), f"{at_most}; got {policy.floor:g}")
    for position, arm in enumerate(experiment.arms):
        if arm.max_share < policy.floor:
            least = f"must be at least policy.floor, {policy.floor:g}"
            yield Problem(("arms", position, "max_share"), f"{least}; got {arm.max_share:g}")
    if sum(arm.max_share for arm in experiment.arms) < 1:
        yield Problem(
            ("arms",), "the max_share of all arms add up to less than 1: some traffic would have nowhere to go"
        )
    metrics = [guardrail.metric for guardrail in experiment.guardrails]
    for position, metric in enumerate(metrics):
        if metric in metrics[:position]:
            yield Problem(("guardrails", position, "metric"), f"'{metric}' is there twice; one bound is enough")
    for position, label in enumerate(experiment.entry_labels):
        if not label or label in experiment.entry_labels[:position]:
            yield Problem(("entry_labels", position), f"must be a label that is not there yet; got {shown(label)}")


def _segment_problems(experiment: Experiment) -> Iterable[Problem]:
    segments, place = experiment.policy.segments, ("policy", "segments")
    if len(segments) >= SEGMENTS_MAX:
        most = f"must be at most {SEGMENTS_MAX - 1} values: what is none of them is one segment more"
        yield Problem(place, f"{most}; got {len(segments)}")
    for position, value in enumerate(segments):
        if value == REST or value in segments[:position]:
            wanted = f"must be a value that is not there yet, and not '{REST}', which takes what is none of them"
            yield Problem((*place, position), f"{wanted}; got {shown(value)}")
        elif not (
            1 <= len(value) <= SEGMENT_CHARS_MAX and value.isascii() and value.isprintable() and value.strip() == value
        ):
            wanted = (
                f"must be 1 to {SEGMENT_CHARS_MAX} printable ASCII characters without blanks around: a header's value"
            )
            yield Problem((*place, position), f"{wanted}; got {shown(value)}")
    if segments and experiment.objective.reward.type != "binary":
        why = "segments borrow from each other by a model of binary rewards; there is none of others"
        yield Problem(place, f"must be [] for rewards of type {experiment.objective.reward.type}: {why}")


def _time_problems(experiment: Experiment) -> Iterable[Problem]:
    policy, stop = experiment.policy, experiment.stop
    if experiment.mode == "always_on" and policy.memory < policy.block:
        least = f"must be at least policy.block, {policy.block:g} s, in mode always_on"
        yield Problem(("policy", "memory"), f"{least}; got {policy.memory:g} s")
    if policy.refresh > policy.block:
        most = f"must be at most policy.block, {policy.block:g} s"
        yield Problem(("policy", "refresh"), f"{most}; got {policy.refresh:g} s")
    if stop.cycle is not None and stop.cycle < policy.block:
        least = f"must be at least policy.block, {policy.block:g} s, or null"
        yield Problem(("stop", "cycle"), f"{least}; got {stop.cycle:g} s")


def _feedback_problems(experiment: Experiment) -> Iterable[Problem]:
    """Refuse conversions of which silence could not be told from a reward, or that never ripen."""
    reward, stop = experiment.objective.reward, experiment.stop
    if reward.feedback != "conversions":
        return
    low, high = reward.range
    if not low <= 0.0 <= high:
        must = "must hold 0, which is what silence counts as with feedback conversions"
        yield Problem(("objective", "reward", "range"), f"{must}; got [{low:g}, {high:g}]")
    if experiment.mode == "experiment" and reward.window >= stop.max_duration:
        most = (
            f"must be shorter than stop.max_duration, {format_duration(stop.max_duration)}, with feedback conversions"
        )
        why = "only what is older than the window may decide the end"
        yield Problem(("objective", "reward", "window"), f"{most}: {why}; got {format_duration(reward.window)}")


def _shadow_problems(experiment: Experiment) -> Iterable[Problem]:
    known = [arm.name for arm in experiment.arms]
    for field, names in (("arms", experiment.shadow.arms), ("against", experiment.shadow.against)):
        for position, name in enumerate(names):
            if name not in known:
                yield Problem(("shadow", field, position), f"must name an arm; got '{name}', {there_are(known)}")
