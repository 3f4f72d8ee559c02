"""Textbook policies to compare the production learner with. They belong to the simulator: nothing serves by them.

All see rewards less costs, pooled over time, and treat silence as a 0 when only conversions are reported.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bandits.weights import to_parts
from load.simulate.policy import Cells, News, Policy, Turn, Verdict
from load.simulate.world import World

Floats = NDArray[np.float64]

# The share that explores; the usual choice, and the one measured in bandit-science.md, Part II §4.
EPSILON: Final = 0.1
# Draws of a turn's weights: an error of 1 % of the traffic at most, fresh at every turn.
DRAWS: Final = 2000
_STEPS: Final = 1 << 16


class Baseline:
    """What all have in common. Mutable: decisions, rewards and reward sums per arm, and the turns so far.

    Each turn has a block of its own.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        arms = len(world.arms)
        self.decided, self.answered, self.earned = np.zeros(arms), np.zeros(arms), np.zeros(arms)
        self.costs = np.zeros(arms)
        self.turns = 0
        self.now = 0

    def turn(self, now: int, cells: Cells, news: Sequence[News], costs_usd: Floats) -> Turn:
        """Take up the news, and share out the next requests."""
        self.now, self.costs = now, costs_usd / self._world.value_usd
        for arm in range(self.decided.size):
            cell = cells.get((arm, self.turns))
            self.decided[arm] += cell["decisions"] if cell else 0
        low, high = self._world.reward.range
        for item in news:
            self.answered[item.arm] += item.rewards
            self.earned[item.arm] += low * item.rewards + (high - low) * item.reward_q / _STEPS
        self.learn(cells, news)
        self.turns += 1
        return Turn(to_parts(self.weights()), self.turns)

    def verdict(self) -> Verdict:
        """Baselines never stop; the leader earned most per request."""
        return Verdict(int(np.argmax(self.value())))

    def trials(self) -> Floats:
        """Return how many requests of each arm have a known outcome."""
        return self.decided if self._world.feedback == "conversions" else self.answered

    def value(self) -> Floats:
        """Return each arm's mean reward less its cost; an arm without trials has the prior's mean."""
        prior = self._world.prior
        mean = np.divide(
            self.earned,
            self.trials(),
            out=np.full(self.earned.size, prior.a / (prior.a + prior.b)),
            where=self.trials() > 0,
        )
        return np.asarray(mean - self.costs, np.float64)

    def learn(self, cells: Cells, news: Sequence[News]) -> None:
        """Take up more than the sums."""

    def weights(self) -> Floats:
        """Return the shares of the next requests."""
        return np.ones(self.decided.size)


class EpsilonGreedy(Baseline):
    """Nine in ten to the best so far, the rest to all alike."""

    def weights(self) -> Floats:
        """Return the shares of the next requests."""
        arms = self.decided.size
        shares = np.full(arms, EPSILON / arms)
        shares[np.argmax(self.value())] += 1 - EPSILON
        return np.asarray(shares, np.float64)


class Ucb1(Baseline):
    """All to the arm of the highest upper bound (Auer, Cesa-Bianchi, Fischer 2002); in batches of a refresh."""

    def weights(self) -> Floats:
        """Return the shares of the next requests."""
        trials = self.trials()
        if (self.decided == 0).any():
            return np.asarray(self.decided == 0, np.float64)
        bound = np.sqrt(2 * math.log(max(2.0, float(trials.sum()))) / np.maximum(trials, 1.0))
        return np.asarray(np.arange(trials.size) == np.argmax(self.value() + bound), np.float64)


class Exp3(Baseline):
    """Exponential weights on rewards divided by propensities (Auer and others 2002), tuned to the world's length.

    Mutable: the estimated gains, and the weights of each block, by which its rewards are divided.
    """

    def __init__(self, world: World) -> None:
        super().__init__(world)
        arms = len(world.arms)
        self._gamma = min(1.0, math.sqrt(arms * math.log(arms) / ((math.e - 1) * world.requests)))
        self._gains = np.zeros(arms)
        self._chosen: dict[int, Floats] = {}

    def learn(self, cells: Cells, news: Sequence[News]) -> None:
        """Add what each reward, and each cost, says of its arm's gain."""
        low, high = self._world.reward.range
        for item in news:
            reward = low * item.rewards + (high - low) * item.reward_q / _STEPS
            self._gains[item.arm] += reward / self._chosen[item.block][item.arm]
        for arm in range(self._gains.size):
            cell = cells.get((arm, self.turns))
            if cell:
                self._gains[arm] -= cell["decisions"] * self.costs[arm] / self._chosen[self.turns][arm]

    def weights(self) -> Floats:
        """Return the shares of the next requests."""
        arms = self._gains.size
        lifted = np.exp(self._gamma / arms * (self._gains - self._gains.max()))
        shares = (1 - self._gamma) * lifted / lifted.sum() + self._gamma / arms
        self._chosen[self.turns] = shares
        return np.asarray(shares, np.float64)


class Pooled(Baseline):
    """Plain Thompson sampling: a Beta posterior per arm over all of time, no floor, no strata.

    Its randomness is its own, fixed: what the world does is another stream.
    """

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._rng = np.random.default_rng(0)

    def weights(self) -> Floats:
        """Return the shares of the next requests."""
        prior, trials = self._world.prior, self.trials()
        low, high = self._world.reward.range
        won = (self.earned - low * self.answered) / (high - low)
        drawn = self._rng.beta(prior.a + won, prior.b + np.maximum(0.0, trials - won), (DRAWS, won.size))
        best = (low + (high - low) * drawn - self.costs).argmax(axis=1)
        return np.asarray(np.bincount(best, minlength=won.size) / DRAWS, np.float64)


_KINDS: Final[dict[str, type[Baseline]]] = {
    "uniform": Baseline,
    "epsilon_greedy": EpsilonGreedy,
    "ucb1": Ucb1,
    "exp3": Exp3,
    "pooled": Pooled,
}


def baseline(world: World) -> Policy | None:
    """Return the baseline that a world's policy names; None when it names the production learner's."""
    return _KINDS[world.policy](world) if is_baseline(world) else None


def is_baseline(world: World) -> bool:
    """Say whether the world's policy is one of these, not the production learner's."""
    return world.policy in _KINDS
