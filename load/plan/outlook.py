"""What is asked of `turpin plan`, and the world in which it is played."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from load.simulate.world import REQUESTS_MAX, World
from router.config.document import BadInput, Problem, validate
from router.config.experiment import Experiment

Floats = NDArray[np.float64]

_DAY_S: Final = 86_400.0
# A look and a stratum every quarter of an hour, as a gateway's blocks are, but no more than 3,000 in all: a run takes
# seconds then, and what is over sooner than three thousandths of the longest duration is over at once.
_LOOK_S: Final = 900.0
_LOOKS_MAX: Final = 3000


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is asked: each arm's rate and cost, what a reward is worth, the traffic, and the rules.

    `cycle_days` is the rhythm that is waited for (0: none), `max_days` when the experiment is given up undecided.
    `rules` are further settings of the world, of its `stop` under that key.
    """

    rates: tuple[float, ...]
    costs_usd: tuple[float, ...]
    value_usd: float
    requests_per_day: float
    cycle_days: float = 1.0
    max_days: float = 14.0
    look_s: float = _LOOK_S
    rules: tuple[tuple[str, Any], ...] = ()
    names: tuple[str, ...] = ()

    def world(self) -> World:
        """Return the world in which it is played; BadInput where there can be none."""
        requests = max(1, round(self.requests_per_day * self.max_days))
        if requests > REQUESTS_MAX:
            message = f"must be at most {REQUESTS_MAX / self.max_days:,.0f} in {self.max_days:g} days"
            raise BadInput([Problem(("per-day",), f"{message}; got {self.requests_per_day:,.0f}")])
        look = max(1, round(self.requests_per_day * self.look_s / _DAY_S), requests // _LOOKS_MAX)
        rules = dict(self.rules)
        stop = {"cycle": self.requests_per_day * self.cycle_days or None} | dict(rules.pop("stop", ()))
        arms = [{"rate": rate, "cost_usd": cost} for rate, cost in zip(self.rates, self.costs_usd, strict=True)]
        whole = {"requests": requests, "refresh": look, "block": look, "arms": arms, "value_usd": self.value_usd}
        return validate(World, whole | {"stop": stop} | rules)

    def values(self) -> Floats:
        """Return what a prediction of each arm earns (K,), in dollars."""
        return np.asarray(np.array(self.rates) * self.value_usd - np.array(self.costs_usd), np.float64)

    def name(self, arm: int) -> str:
        """Return what an arm is called: its name in the experiment's file, or its number."""
        return self.names[arm] if self.names else f"arm {arm}"


def outlook_of(
    experiment: Experiment, rates: Sequence[float], costs_usd: Sequence[float], requests_per_day: float
) -> Outlook:
    """Return what a file asks, at such rates; BadInput with what can't be played of it."""
    stop, policy, reward = experiment.stop, experiment.policy, experiment.objective.reward
    problems = []
    if reward.type != "binary":
        message = f"plan plays rewards of 0 and 1; got {reward.type}. turpin simulate knows other laws of rewards"
        problems.append(Problem(("objective", "reward", "type"), message))
    if experiment.objective.kind != "net":
        problems.append(Problem(("objective", "kind"), f"plan plays net; got {experiment.objective.kind}"))
    if experiment.mode != "experiment":
        problems.append(Problem(("mode",), f"{experiment.mode} never ends: there is nothing to plan"))
    if problems:
        raise BadInput(problems)
    per_s = requests_per_day / _DAY_S
    told = {
        "delta": stop.delta,
        "margin": stop.margin,
        "alpha": stop.alpha,
        "min_per_arm": stop.min_per_arm,
        "min_cycles": stop.min_cycles,
        "min_age": stop.min_age * per_s,
    }
    prior = {"a": policy.prior.mean * policy.prior.strength, "b": (1 - policy.prior.mean) * policy.prior.strength}
    rules: dict[str, Any] = {"stop": told, "policy": policy.kind, "floor": policy.floor, "prior": prior}
    if reward.feedback == "conversions":
        rules |= {"feedback": "conversions", "window": max(1.0, reward.window * per_s)}
    return Outlook(
        rates=tuple(rates),
        costs_usd=tuple(costs_usd),
        value_usd=experiment.objective.value_usd,
        requests_per_day=requests_per_day,
        cycle_days=(stop.cycle or 0.0) / _DAY_S,
        max_days=stop.max_duration / _DAY_S,
        look_s=policy.block,
        rules=tuple(rules.items()),
        names=tuple(arm.name for arm in experiment.arms),
    )
