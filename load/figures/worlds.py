"""The simulated worlds behind the figures of docs/explanation/learning.md, and what is measured in them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from load.simulate.pool import Task, results
from load.simulate.run import Result
from load.simulate.truth import Truth
from load.simulate.world import World
from router.config.document import validate

Floats = NDArray[np.float64]
Play = Callable[[Sequence[Task], str], list[Result]]

# Any will do: another one moves the last digits.
SEED: Final = 11
# A common mistake: stop when the best arm is probably best. At a probability of 95 %, with this many requests at least.
NAIVE_PROBABILITY: Final = 0.95
_NAIVE_REQUESTS_MIN: Final = 5_000


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """A policy's runs over time: `at` (T,) requests, `lost` (runs, T) rewards lost by then against the best arm."""

    at: Floats
    lost: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Stops:
    """When the runs of a rule stopped (requests), those that ended on the best arm and those that did not."""

    right: Floats
    wrong: Floats
    runs: int


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """An arm's share of the traffic over time, (runs, T), and the moment its competitor's price changed."""

    at: Floats
    share: Floats
    changed_at: float


def play(tasks: Sequence[Task], title: str) -> list[Result]:
    """Make the runs, on all cores."""
    found = dict(results(tasks, title))
    return [found[place] for place in range(len(tasks))]


def world(**facts: Any) -> World:
    """Return a world; BadInput if it could not be."""
    return validate(World, facts)


def regret(runs: int, play: Play = play) -> dict[str, Curves]:
    """Let policies compete in a world with three arms, one of them 20 % better; per policy its curves."""
    curves = {}
    for policy in ("thompson", "epsilon_greedy", "exp3", "ucb1", "uniform"):
        arms = [{"rate": 0.05}, {"rate": 0.06}, {"rate": 0.05}]
        made = world(requests=100_000, arms=arms, policy=policy)
        curves[policy] = _lost(made, play(_tasks(made, runs), policy))
    return curves


def rhythm(runs: int, play: Play = play) -> dict[str, Stops]:
    """Two arms 5 % apart, and a daily rhythm of ±50 % on both: when do two rules stop, and on which arm?"""
    facts: dict[str, Any] = {
        "requests": 400_000,
        "arms": [{"rate": 0.05}, {"rate": 0.0525}],
        "cycle": {"period": 100_000, "amplitude": 0.5},
    }
    ours = world(**facts, stop={"cycle": 100_000})
    naive = world(**facts, policy="pooled")
    return {
        "Turpin": _stops([(one.stopped_at, one.leader in one.best) for one in play(_tasks(ours, runs), "Turpin")]),
        "naive": _stops([_naive_stop(one) for one in play(_tasks(naive, runs), "naive")]),
    }


def price(runs: int, play: Play = play) -> Shares:
    """Two arms of equal reward; the cheaper one's price rises above the other's half-way."""
    changed_at = 50_000
    made = world(
        requests=100_000,
        arms=[{"rate": 0.05, "cost_usd": 0.010}, {"rate": 0.05, "cost_usd": 0.015}],
        changes=[{"at": changed_at, "arm": 0, "cost_usd": 0.025}],
    )
    paths = [one.path for one in play(_tasks(made, runs), "price")]
    return Shares(paths[0][:, 0], np.array([path[:, 2] for path in paths]), changed_at)


def _tasks(made: World, runs: int) -> list[Task]:
    return [Task(made, SEED, number, has_path=True) for number in range(runs)]


def _lost(made: World, found: Sequence[Result]) -> Curves:
    """Add up what the weights of each refresh give up: the draw of the arms itself is left out, which is only noise."""
    starts = found[0].path[:, 0]
    ends = np.append(starts[1:], made.requests)
    truth = Truth(made)
    gaps = np.array(
        [
            sum(span.requests * (span.value.max() - span.value) for span in truth.spans(int(begin), int(end)))
            for begin, end in zip(starts, ends, strict=True)
        ]
    )
    return Curves(ends, np.array([(one.path[:, 1:] * gaps).sum(axis=1).cumsum() for one in found]))


def _naive_stop(one: Result) -> tuple[int | None, bool]:
    """Return when a pooled posterior first was sure enough, and whether it was right; its weights are P(best)."""
    at, weights = one.path[:, 0], one.path[:, 1:]
    is_sure = (weights.max(axis=1) >= NAIVE_PROBABILITY) & (at >= _NAIVE_REQUESTS_MIN)
    if not is_sure.any():
        return None, False
    first = int(np.argmax(is_sure))
    return int(at[first]), int(np.argmax(weights[first])) in one.best


def _stops(found: Sequence[tuple[int | None, bool]]) -> Stops:
    def times(is_right: bool) -> Floats:
        return np.sort(np.array([at for at, right in found if at is not None and right is is_right], np.float64))

    return Stops(times(True), times(False), len(found))
