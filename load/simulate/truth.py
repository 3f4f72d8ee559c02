"""What really happens in a world: rates and costs over time, and the rewards that requests bring, drawn all at once."""

import itertools
import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from load.simulate.world import Arm, Reward, World

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]

# What a reward is stored in: bandits/sums.py.
_STEPS: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Span:
    """Requests `begin` to `end` in which nothing changes but the rhythm; per arm (K,) the mean reward and the cost.

    `value` is the mean reward less the cost, in rewards.
    """

    begin: int
    end: int
    rate: Floats
    cost_usd: Floats
    value: Floats
    arms: tuple[Arm, ...]

    @property
    def requests(self) -> int:
        """How many requests fall into it."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True, eq=False)
class Rewards:
    """Rewards that were earned, one entry each: when they arrive, of which arm and block, how many steps of 2^-16."""

    at: Floats
    earned: Floats
    arm: Int64s
    block: Int64s
    q: Int64s

    def cut(self, rows: NDArray[np.bool_]) -> "Rewards":
        """Return some of them."""
        return Rewards(self.at[rows], self.earned[rows], self.arm[rows], self.block[rows], self.q[rows])


class Truth:
    """The world itself. Its randomness is the generator it is given; it keeps no other state."""

    def __init__(self, world: World) -> None:
        self._world = world
        # Arms as they are from each of these requests on.
        self._since: list[int] = [0]
        self._arms: list[tuple[Arm, ...]] = [world.arms]
        for change in sorted(world.changes, key=lambda change: change.at):
            arms = list(self._arms[-1])
            new = {key: value for key, value in change.model_dump(exclude={"at", "arm"}).items() if value is not None}
            arms[change.arm] = arms[change.arm].model_copy(update=new)
            if change.at == self._since[-1]:
                self._arms[-1] = tuple(arms)
            else:
                self._since.append(change.at)
                self._arms.append(tuple(arms))

    def spans(self, begin: int, end: int) -> list[Span]:
        """Cut requests `begin` to `end` where something changes."""
        cuts = [begin, *(at for at in self._since if begin < at < end), end]
        return [self._span(*pair) for pair in itertools.pairwise(cuts)]

    def costs_usd(self, at: int) -> Floats:
        """Return what a prediction costs at this moment, per arm (K,)."""
        return np.array([arm.cost_usd for arm in self._arms_at(at)])

    def best(self, at: int) -> list[int]:
        """Return the arms of highest value, as they are at this moment but over the whole rhythm, and over all segments.

        Values are equal to a billionth. At one hour of the day another arm may be better than over the day.
        """
        return self._highest(at, self._rates(at))

    def best_of(self, at: int, segment: int) -> list[int]:
        """Return the arms of highest value in a segment."""
        return self._highest(at, self._rates(at, segment))

    def of_segment(self, span: Span, segment: int) -> Span:
        """Return the span as the requests of a segment see it."""
        rate = self._lifted(self._rates(span.begin, segment), span.begin, span.end)
        return replace(span, rate=rate, value=rate - span.cost_usd / self._world.value_usd)

    def _rates(self, at: int, segment: int | None = None) -> Floats:
        """Return the mean rewards (K,) of a segment, or of all traffic."""
        own = np.array([arm.rate for arm in self._arms_at(at)])
        segments = self._world.segments
        if segment is not None:
            rates = segments[segment].rates
            return own if rates is None else np.array(rates)
        if not segments:
            return own
        return sum((each.share * self._rates(at, number) for number, each in enumerate(segments)), np.zeros(own.size))

    def _highest(self, at: int, rates: Floats) -> list[int]:
        costs = np.array([arm.cost_usd for arm in self._arms_at(at)])
        value = rates - costs / self._world.value_usd
        return [int(arm) for arm in np.flatnonzero(value >= value.max() - 1e-9 * max(1e-9, abs(float(value.max()))))]

    def _arms_at(self, at: int) -> tuple[Arm, ...]:
        return self._arms[int(np.searchsorted(self._since, at, side="right")) - 1]

    def _span(self, begin: int, end: int) -> Span:
        arms = self._arms_at(begin)
        rate = self._lifted(np.array([arm.rate for arm in arms]), begin, end)
        cost = np.array([arm.cost_usd for arm in arms])
        return Span(begin, end, rate, cost, rate - cost / self._world.value_usd, arms)

    def _lifted(self, rate: Floats, begin: int, end: int) -> Floats:
        """Return the rates over a span, lifted by the rhythm."""
        cycle = self._world.cycle
        if cycle is None:
            return rate
        first, last = (2 * math.pi * (moment / cycle.period + cycle.phase) for moment in (begin, end))
        wave = (math.cos(first) - math.cos(last)) / (last - first) if last > first else math.sin(first)
        lift = 1.0 + cycle.amplitude * wave
        if cycle.shape == "product":
            return rate * lift
        return np.asarray(expit(logit(rate) + math.log(max(lift, 1e-12))), np.float64)

    def rewards(self, span: Span, counts: Int64s, block: int, rng: np.random.Generator) -> tuple[Int64s, Rewards]:
        """Draw what the requests of a span bring, `counts` (K,) per arm.

        Rewards without delay come as sums (K, 3) of rewards, steps and squared steps; the others one by one. What
        arrives after the window is lost; conversions report no 0.
        """
        world = self._world
        sums = np.zeros((counts.size, 3), np.int64)
        later: list[Rewards] = []
        for arm, count in enumerate(counts.tolist()):
            is_late = span.arms[arm].delay_mean > 0 or span.arms[arm].slow is not None
            if world.reward.law == "binary" and not is_late:
                won = int(rng.binomial(count, span.rate[arm]))
                reported = won if world.feedback == "conversions" else count
                sums[arm] = (reported, won * _STEPS, won * _STEPS * _STEPS)
                continue
            q = _drawn(world.reward, float(span.rate[arm]), count, rng)
            q = q[q > 0] if world.feedback == "conversions" else q
            if not is_late:
                sums[arm] = (q.size, q.sum(), (q * q).sum())
                continue
            earned = rng.uniform(span.begin, span.end, q.size)
            at = earned + _delays(span.arms[arm], q.size, rng)
            some = Rewards(at, earned, np.full(q.size, arm), np.full(q.size, block), q)
            later.append(some if world.window is None else some.cut(at - earned <= world.window))
        return sums, joined(later)


def joined(parts: list[Rewards]) -> Rewards:
    """Put rewards together."""
    if len(parts) == 1:
        return parts[0]
    whole = {
        name: np.concatenate([np.empty(0, kind), *(getattr(part, name) for part in parts)])
        for name, kind in (("at", float), ("earned", float), ("arm", np.int64), ("block", np.int64), ("q", np.int64))
    }
    return Rewards(**whole)


def _delays(arm: Arm, count: int, rng: np.random.Generator) -> Floats:
    delays = rng.standard_exponential(count)
    if arm.slow is None:
        return np.asarray(delays * arm.delay_mean, np.float64)
    means = np.where(rng.random(count) < arm.slow.share, arm.slow.delay_mean, arm.delay_mean)
    return np.asarray(delays * means, np.float64)


def _drawn(reward: Reward, mean: float, count: int, rng: np.random.Generator) -> Int64s:
    """Draw rewards as steps of 2^-16 of their range; what lies outside is cut off."""
    low, high = reward.range
    share = (np.clip(_law(reward, mean, count, rng), low, high) - low) / (high - low)
    return np.asarray(np.rint(share * _STEPS), np.int64)


def _law(reward: Reward, mean: float, count: int, rng: np.random.Generator) -> Floats:
    match reward.law:
        case "binary":
            return np.asarray(rng.random(count) < mean, np.float64)
        case "gaussian":
            return rng.normal(mean, reward.spread, count)
        case "lognormal":
            return np.asarray(mean * np.exp(rng.normal(-(reward.spread**2) / 2, reward.spread, count)), np.float64)
        case "beta":
            return rng.beta(mean * reward.spread, (1 - mean) * reward.spread, count)
        case "sparse":
            size = mean / reward.spread * np.exp(rng.normal(-0.5, 1.0, count))
            return np.asarray(np.where(rng.random(count) < reward.spread, size, 0.0), np.float64)
