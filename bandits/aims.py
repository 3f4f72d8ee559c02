"""What each kind of objective makes of rewards and costs: a score to compare arms by, money, and what a claim says.

`net`: money per prediction, value x reward - cost. `ratio`: reward per dollar, for a budget that is fixed.
`cheapest_within_margin`: the cheapest of the arms whose reward is at most the margin below the best one's.
Source: bandit-science.md, Part II §2.2; claims of `ratio` and `cheapest_within_margin` are our own, not simulated there.
Shapes: D draws, K arms, E rates at which a claim must hold. Rewards are in their own unit, costs in dollars.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bandits import claim
from bandits.rules import Objective

Floats = NDArray[np.float64]

# A prediction that costs less than this costs this: reward per dollar must stay finite. A thousandth of the unit in
# which costs are counted.
COST_MIN_USD = 1e-15
# Among arms that are equally right the one with more reward is drawn: far below any share that decides.
TIE = 1e-9


class Aim(Protocol):
    """An objective with the arms' costs filled in. `margin` is a share of `scale`."""

    def scores(self, drawn: Floats) -> Floats:
        """Return what the arms are compared by (D, K), more being better, for drawn rewards (D, K)."""

    def scale(self, leader: int) -> float:
        """Return what value remaining is a share of, in the unit of the scores; at least 0."""

    def earned_usd(self, drawn: Floats, leader: int) -> Floats:
        """Return in money what a prediction of each arm earns (D, K); only differences between arms mean something."""

    def margin(self, leader: int) -> float:
        """Return the margin of the claims, a share."""

    def opponents(self, challenger: int, leader: int) -> Sequence[int]:
        """Return the arms against which the challenger's claim is tested; the first is the leader."""

    def target(self, challenger: int, opponent: int, leader: int, rates: Floats) -> Floats:
        """Return the reward the challenger must have for its claim to be true (E,), given the opponent's (E,)."""

    def gap(self, challenger: int, leader: int, upper: Floats, rates: Floats) -> Floats:
        """Return how much better the challenger could be than the leader (E,), a share, if its reward is `upper`."""


@dataclass(frozen=True, slots=True, eq=False)
class Net:
    """Money per prediction. `rate` (K,) are mean rewards, `margins` the margin by the noise of an arm's reward."""

    value_usd: float
    costs: Floats
    rate: Floats
    margins: Callable[[int], float]

    def scores(self, drawn: Floats) -> Floats:
        """Return value x reward - cost."""
        return drawn * self.value_usd - self.costs

    def scale(self, leader: int) -> float:
        """Return the leader's value, or how far it is below 0."""
        return abs(float(self.value_usd * self.rate[leader] - self.costs[leader]))

    def earned_usd(self, drawn: Floats, leader: int) -> Floats:
        """Return the scores: they are money."""
        return self.scores(drawn)

    def margin(self, leader: int) -> float:
        """Return the margin by the noise of the leader's reward."""
        return self.margins(leader)

    def opponents(self, challenger: int, leader: int) -> Sequence[int]:
        """Return the leader."""
        return (leader,)

    def target(self, challenger: int, opponent: int, leader: int, rates: Floats) -> Floats:
        """Return the reward that earns the leader's value, and the margin more."""
        worth = self.value_usd * rates
        value = worth - self.costs[opponent]
        extra = claim.margin_usd(self.margins(opponent), value, worth)
        return np.asarray((value + extra + self.costs[challenger]) / self.value_usd, np.float64)

    def gap(self, challenger: int, leader: int, upper: Floats, rates: Floats) -> Floats:
        """Return the difference as a share of the leader's value; inf for a leader worth 0."""
        value = self.value_usd * rates - self.costs[leader]
        ahead = self.value_usd * upper - self.costs[challenger] - value
        return _share(ahead, value)


@dataclass(frozen=True, slots=True, eq=False)
class Ratio:
    """Reward per dollar. `costs` are at least `COST_MIN_USD`."""

    value_usd: float
    costs: Floats
    rate: Floats
    margins: Callable[[int], float]

    def scores(self, drawn: Floats) -> Floats:
        """Return reward / cost."""
        return drawn / self.costs

    def scale(self, leader: int) -> float:
        """Return the leader's reward per dollar."""
        return abs(float(self.rate[leader] / self.costs[leader]))

    def earned_usd(self, drawn: Floats, leader: int) -> Floats:
        """Return value x (reward - what the same dollars bring with the leader)."""
        per_dollar = float(self.rate[leader] / self.costs[leader])
        return self.value_usd * (drawn - per_dollar * self.costs)

    def margin(self, leader: int) -> float:
        """Return the margin by the noise of the leader's reward."""
        return self.margins(leader)

    def opponents(self, challenger: int, leader: int) -> Sequence[int]:
        """Return the leader."""
        return (leader,)

    def target(self, challenger: int, opponent: int, leader: int, rates: Floats) -> Floats:
        """Return the reward that makes the leader's reward per dollar, and the margin more."""
        more = rates + self.margins(opponent) * np.abs(rates)
        return np.asarray(more * (self.costs[challenger] / self.costs[opponent]), np.float64)

    def gap(self, challenger: int, leader: int, upper: Floats, rates: Floats) -> Floats:
        """Return the difference as a share of the leader's reward per dollar; inf for a leader without reward."""
        ahead = upper * (self.costs[leader] / self.costs[challenger]) - rates
        return _share(ahead, rates)


@dataclass(frozen=True, slots=True, eq=False)
class Cheapest:
    """The cheapest arm within the margin of the best reward, among the arms that are `is_live` (K,).

    A score is the share lost, below 0: of the arm's cost, if it is good enough and another such arm is cheaper; of
    the reward asked for, if it is not good enough.
    """

    value_usd: float
    costs: Floats
    rate: Floats
    margins: Callable[[int], float]
    is_live: NDArray[np.bool_]
    # What an arm may fall short of the margin itself when the claim is tested: without it an arm just at the margin
    # could never be confirmed, or ruled out.
    slack: float

    def _asked(self, drawn: Floats) -> Floats:
        """Return the reward that is good enough (D, 1)."""
        best = drawn[:, self.is_live].max(axis=1, keepdims=True)
        return np.asarray(best - self.margin(0) * np.abs(best), np.float64)

    def _saved(self, drawn: Floats) -> tuple[Floats, Floats]:
        """Return what is paid above the cheapest good arm (D, K), and the reward missed (D, K); one of them is 0."""
        asked = self._asked(drawn)
        is_good = (drawn >= asked) & self.is_live
        cheapest = np.where(is_good, self.costs, np.inf).min(axis=1, keepdims=True)
        return np.where(is_good, self.costs - cheapest, 0.0), np.maximum(asked - drawn, 0.0)

    def scores(self, drawn: Floats) -> Floats:
        """Return what is lost, below 0; 0 for the right arm."""
        paid, missed = self._saved(drawn)
        asked = np.maximum(np.abs(self._asked(drawn)), np.finfo(np.float64).tiny)
        lost = paid / np.maximum(self.costs, COST_MIN_USD) + missed / asked
        return TIE * drawn / max(1.0, float(np.abs(drawn).max(initial=0.0))) - lost

    def scale(self, leader: int) -> float:
        """Return 1: the scores are shares."""
        return 1.0

    def earned_usd(self, drawn: Floats, leader: int) -> Floats:
        """Return the money lost, below 0: paid for nothing, or the worth of the reward missed."""
        paid, missed = self._saved(drawn)
        return -(paid + self.value_usd * missed)

    def margin(self, leader: int) -> float:
        """Return the margin by the noise of the best arm's reward, whoever leads."""
        return self.margins(int(np.where(self.is_live, self.rate, -np.inf).argmax()))

    def opponents(self, challenger: int, leader: int) -> Sequence[int]:
        """Return the leader for an arm that is no cheaper; for a cheaper one all others, any of which may be best."""
        if self.costs[challenger] >= self.costs[leader]:
            return (leader,)
        others = np.flatnonzero(self.is_live).tolist()
        return (leader, *(arm for arm in others if arm not in (challenger, leader)))

    def target(self, challenger: int, opponent: int, leader: int, rates: Floats) -> Floats:
        """Return the reward of an arm beside which the leader is too bad; of a cheaper one, that is good enough."""
        margin = self.margin(leader)
        if self.costs[challenger] >= self.costs[leader]:
            return np.asarray(rates + (1.0 / (1.0 - margin) - 1.0 + self.slack) * np.abs(rates), np.float64)
        return np.asarray(rates - margin * np.abs(rates), np.float64)

    def gap(self, challenger: int, leader: int, upper: Floats, rates: Floats) -> Floats:
        """Return how much more reward the challenger could bring, a share of the leader's."""
        return _share(upper - rates, rates)


def _share(ahead: Floats, of: Floats) -> Floats:
    """Return ahead / |of|; inf where that is 0."""
    return np.asarray(np.divide(ahead, np.abs(of), out=np.full(of.shape, np.inf), where=of != 0.0), np.float64)


def aim_of(
    objective: Objective,
    costs: Floats,
    rate: Floats,
    margins: Callable[[int], float],
    *,
    is_live: NDArray[np.bool_],
    slack: float,
) -> Aim:
    """Return the aim of an objective's kind, for costs and mean rewards (K,)."""
    value_usd = objective.value_usd
    if objective.kind == "net":
        return Net(value_usd, costs, rate, margins)
    # Nothing divides by a cost of nothing.
    costs = np.maximum(costs, COST_MIN_USD)
    if objective.kind == "ratio":
        return Ratio(value_usd, costs, rate, margins)
    return Cheapest(value_usd, costs, rate, margins, is_live if is_live.any() else ~is_live, slack)
