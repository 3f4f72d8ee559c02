"""One run of a world: requests in, weights out, a refresh at a time, and what it cost not to know."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bandits.weights import PARTS
from load.simulate.baselines import baseline
from load.simulate.counts import Counts
from load.simulate.policy import Cells, News, Policy, Turn
from load.simulate.production import Production
from load.simulate.truth import Truth, joined
from load.simulate.world import World

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What came out of a run, in requests and rewards; arrays are per arm (K,).

    `regret` is what the best arm of each moment would have brought beyond the arms chosen. `path` (refreshes, 1 + K)
    holds the moment and the weights from it on, when it was asked for.
    """

    regret: float
    weights: Floats
    leader: int
    best: tuple[int, ...]
    stopped_at: int | None
    retired: tuple[tuple[int, int], ...]
    shares: Floats
    path: Floats = field(default_factory=lambda: np.empty((0, 0)))


# Called after each refresh with the moment, the sums so far, the policy, and the weights from then on.
Watcher = Callable[[int, Cells, Policy, Turn], None]


def run(world: World, seed: int, number: int = 0, *, has_path: bool = False, watch: Watcher | None = None) -> Result:
    """Play the world with its policy; the same seed and number give the same run, whatever else runs beside it."""
    policy: Policy = baseline(world) or Production(world)
    play = _Play(world, np.random.default_rng([seed, number]))
    now, path = 0, []
    turn = policy.turn(0, play.counted.cells, [], play.truth.costs_usd(0))
    while now < world.requests:
        if has_path:
            path.append([now, *(part / PARTS for part in turn.parts)])
        end = min(now + world.refresh, world.requests)
        play.serve(now, end, turn)
        now = end
        turn = policy.turn(now, play.counted.cells, play.deliver(now), play.truth.costs_usd(now))
        if watch is not None:
            watch(now, play.counted.cells, policy, turn)
    verdict = policy.verdict()
    return Result(
        regret=play.regret,
        weights=np.array(turn.parts) / PARTS,
        leader=verdict.leader,
        best=tuple(play.truth.best(now)),
        stopped_at=verdict.stopped_at,
        retired=verdict.retired,
        shares=play.requests / world.requests,
        path=np.array(path),
    )


class _Play:
    """The world in motion. Mutable: what is counted, rewards on their way, requests per arm and regret."""

    def __init__(self, world: World, rng: np.random.Generator) -> None:
        self.truth = Truth(world)
        self.counted = Counts(len(world.arms), world.window_told)
        self.requests = np.zeros(len(world.arms))
        self.regret = 0.0
        self._rng = rng
        self._on_the_way = joined([])

    def serve(self, begin: int, end: int, turn: Turn) -> None:
        """Let the requests of one refresh happen."""
        shares = np.array(turn.parts) / PARTS
        later = [self._on_the_way]
        for span in self.truth.spans(begin, end):
            counts = self._rng.multinomial(span.requests, shares)
            self.requests += counts
            self.regret += float(counts @ (span.value.max() - span.value))
            self.counted.requests(turn, counts)
            sums, some = self.truth.rewards(span, counts, turn.block, self._rng)
            # Rewards of decisions that were not the experiment's are kept apart by the gateway, and change nothing.
            if turn.is_learned:
                self.counted.immediate(turn.block, sums)
                later.append(some)
        self._on_the_way = joined(later)

    def deliver(self, now: int) -> list[News]:
        """Count the rewards that have arrived; return all that is new since the last refresh."""
        is_here = self._on_the_way.at <= now
        if is_here.any():
            self.counted.delayed(self._on_the_way.cut(is_here))
            self._on_the_way = self._on_the_way.cut(~is_here)
        return self.counted.news()
