"""The run as one JSON object (design §13), and what is missing from a good one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from load.demo import money
from load.demo.books import Books
from load.demo.money import ArmMoney
from load.demo.plan import ARMS, EXPERIMENT, PLANS, VALUE_USD
from load.demo.state import State
from load.demo.training import Trained

# TF Serving's name for a version that is gone.
END = "END"


@dataclass(frozen=True, slots=True)
class Moment:
    """What was so at one time: the picture is drawn from these."""

    at_s: float
    phase: str
    arm_states: Mapping[str, str]
    weights: Mapping[str, float]
    remaining: float | None


@dataclass(slots=True)
class Run:
    """Everything a run has seen. Mutable: filled in as it goes."""

    seed: int
    books: Books
    trained: Sequence[Trained] = ()
    state: State | None = None
    # The model server's own word, by version.
    servers: Mapping[int, str] = field(default_factory=dict)
    timeline: list[Moment] = field(default_factory=list)
    rewards_sent: int = 0
    rewards_acknowledged: int = 0
    rewards_refused: Mapping[str, int] = field(default_factory=dict)
    duration_s: float = 0.0
    pids: dict[str, int] = field(default_factory=dict)
    # What went wrong beside single requests, in words.
    events: list[str] = field(default_factory=list)

    @property
    def winner(self) -> str | None:
        """The arm that is left, once the experiment is concluded."""
        return self.state.winner if self.state is not None and self.state.phase == "concluded" else None

    @property
    def unloaded(self) -> list[str]:
        """The arms whose version the model server itself reports as ended."""
        return [plan.arm for plan in PLANS if self.servers.get(plan.version) == END]

    @property
    def losers(self) -> list[str]:
        """All arms but the winner; all of them without one."""
        return [arm for arm in ARMS if arm != self.winner]

    def is_over(self) -> bool:
        """Whether there is a winner, and every loser is retired and gone from the model server."""
        if self.state is None or self.winner is None:
            return False
        return all(arm in self.state.retired and arm in self.unloaded for arm in self.losers)

    def arms(self) -> list[ArmMoney]:
        """The client's counts with the gateway's cost per prediction."""
        return [self._arm(arm) for arm in ARMS]

    def _arm(self, name: str) -> ArmMoney:
        count = self.books.arms[name]
        state = self.state.arm(name) if self.state is not None else None
        # An arm that was never calibrated got no traffic either: its cost enters no sum.
        cost_usd = (state.prediction_cost_usd or 0.0) if state is not None else 0.0
        believed = state.rate if state is not None and state.rate is not None else 0.0
        return ArmMoney(name, count.requests, count.right, cost_usd, believed)


def missing(run: Run) -> list[str]:
    """Return, in words, what stands between this run and a good one; empty when it is good."""
    found = []
    books, state = run.books, run.state
    if not books.answers:
        found.append("no request was answered")
    if books.failed_total:
        kinds = "; ".join(f"{count} × {message}" for message, count in books.failures.most_common(5))
        found.append(f"{books.failed_total} of {books.requests} requests failed: {kinds}")
    if state is None:
        found.append("the gateway never showed the experiment")
    elif state.phase != "concluded":
        waiting = "; ".join(state.not_ready) or "nothing it names"
        found.append(f"the experiment is still {state.phase}, not concluded; it waits for: {waiting}")
    elif run.winner is None:
        found.append(f"the experiment was concluded without a winner: {state.reason or 'no reason given'}")
    if run.winner is not None and state is not None:
        if late := [arm for arm in run.losers if arm not in state.retired]:
            found.append(f"not retired: {', '.join(late)}")
        if late := [arm for arm in run.losers if arm not in run.unloaded]:
            found.append(f"not at END in the model server's own status: {', '.join(late)} ({dict(run.servers)})")
    counted = state.rewards if state is not None else 0
    if counted != run.rewards_sent:
        found.append(f"{run.rewards_sent} rewards were sent, {counted} counted")
    found.extend(f"{count} × {message}" for message, count in run.rewards_refused.items())
    return found


def document(run: Run) -> dict[str, Any]:
    """Return the JSON object: design §13's keys first, then what explains them."""
    arms, state, books = run.arms(), run.state, run.books
    return {
        "requests": books.requests,
        "failed": books.failed_total,
        "experiment": EXPERIMENT,
        "phase": state.phase if state is not None else None,
        "winner": run.winner,
        "retired": state.retired if state is not None else [],
        "unloaded": run.unloaded,
        "shares": {arm: round(share, 6) for arm, share in books.shares().items()},
        "value_usd": money.earned_usd(arms, VALUE_USD),
        "uniform_value_usd": money.equal_split_usd(arms, VALUE_USD),
        "billed_usd": sum(arm.cost_usd for arm in state.arms) if state is not None else 0.0,
        "rewards_sent": run.rewards_sent,
        "rewards_counted": state.rewards if state is not None else 0,
        "duration_s": round(run.duration_s, 2),
        "rewards_acknowledged": run.rewards_acknowledged,
        "seed": run.seed,
        "pids": run.pids,
        "reference_rows": state.reference_rows if state is not None else None,
        "reward_value_usd": VALUE_USD,
        "arms": [_arm(arm) for arm in arms],
        "models": [
            {"version": one.version, "parameters": one.parameters, "bytes": one.size_bytes, "training_s": one.seconds}
            for one in run.trained
        ],
        "failures": dict(books.failures),
        "missing": missing(run),
        "events": run.events,
        "timeline": [_moment(moment) for moment in run.timeline],
    }


def _arm(arm: ArmMoney) -> dict[str, Any]:
    return {
        "name": arm.name,
        "requests": arm.requests,
        "right": arm.right,
        "rate": arm.rate,
        "rate_95": money.interval(arm.right, arm.requests),
        "prediction_cost_usd": arm.cost_usd,
        "prediction_value_usd": arm.prediction_value_usd(VALUE_USD),
    }


def _moment(moment: Moment) -> dict[str, Any]:
    return {
        "at_s": round(moment.at_s, 2),
        "phase": moment.phase,
        "arms": dict(moment.arm_states),
        "weights": dict(moment.weights),
        "value_remaining": moment.remaining,
    }
