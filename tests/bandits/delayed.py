"""A world whose rewards come late, by laws that the tests know."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bandits.delay import DelaySums
from bandits.delay_bins import BINS, ENDS
from bandits.strata import Spans
from bandits.sums import STEPS, Sums

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]
"""A law: draws so many delays, in seconds."""


def exponential(mean_s: float) -> Draw:
    return lambda rng, count: rng.exponential(mean_s, count)


def lognormal(mean_s: float) -> Draw:
    return lambda rng, count: mean_s * np.exp(rng.normal(-0.5, 1.0, count))


def bimodal(fast_s: float, slow_s: float) -> Draw:
    """Return the law of the reference: 60 % fast, 40 % slow, both exponential."""
    return lambda rng, count: np.where(
        rng.uniform(size=count) < 0.6, rng.exponential(fast_s, count), rng.exponential(slow_s, count)
    )


@dataclass
class LateWorld:
    """Requests come evenly, rewards as late as their arm's law says; those later than the window never count."""

    laws: Sequence[Draw]
    block_s: float
    window_s: float
    rng: np.random.Generator
    now: float = 0.0
    decisions: NDArray[np.int64] = field(init=False)
    rewards: NDArray[np.int64] = field(init=False)
    delay_ms: NDArray[np.int64] = field(init=False)
    bins: NDArray[np.int64] = field(init=False)
    pending: Floats = field(default_factory=lambda: np.empty((0, 4)))

    def __post_init__(self) -> None:
        self.decisions, self.rewards, self.delay_ms = (np.zeros((0, len(self.laws)), np.int64) for _ in range(3))
        self.bins = np.zeros((0, len(self.laws), BINS), np.int64)

    def send(self, counts: Sequence[int] | NDArray[np.int64], rates: Sequence[float], seconds: float) -> None:
        """Let so many requests of each arm come within the next seconds, all in one block, and rewards arrive."""
        block = int(self.now // self.block_s)
        while len(self.decisions) <= block:
            for name in ("decisions", "rewards", "delay_ms", "bins"):
                table = getattr(self, name)
                setattr(self, name, np.concatenate([table, np.zeros_like(table[:1], shape=(1, *table.shape[1:]))]))
        self.decisions[block] += counts
        for arm, (count, rate) in enumerate(zip(counts, rates, strict=True)):
            rewarded = int(self.rng.binomial(count, rate))
            delay = self.laws[arm](self.rng, rewarded)
            at = self.now + self.rng.uniform(0.0, seconds, rewarded) + delay
            own = np.stack([at, delay, np.full(rewarded, float(block)), np.full(rewarded, float(arm))], axis=1)
            self.pending = np.concatenate([self.pending, own[delay <= self.window_s]])
        self.now += seconds
        self._receive()

    def _receive(self) -> None:
        here = self.pending[:, 0] <= self.now
        delay, (block, arm) = self.pending[here, 1], self.pending[here, 2:].astype(np.int64).T
        self.pending = self.pending[~here]
        np.add.at(self.rewards, (block, arm), 1)
        np.add.at(self.delay_ms, (block, arm), (delay * 1e3).astype(np.int64))
        np.add.at(self.bins, (block, arm, np.searchsorted(ENDS, delay / self.window_s)), 1)

    @property
    def sums(self) -> Sums:
        return Sums(
            np.arange(len(self.decisions)),
            self.decisions,
            self.rewards,
            self.rewards * STEPS,
            self.rewards * STEPS * STEPS,
        )

    @property
    def delays(self) -> DelaySums:
        return DelaySums(self.delay_ms, self.bins)

    @property
    def spans(self) -> Spans:
        began: Floats = self.now - np.arange(len(self.decisions), dtype=np.float64) * self.block_s
        return Spans(began, np.append(began[1:], 0.0))
