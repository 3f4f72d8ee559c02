"""One run of a world: requests in, weights out, a refresh at a time, and what it cost not to know."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from bandits.sums import cell_arm
from bandits.weights import PARTS
from load.simulate.baselines import baseline
from load.simulate.counts import Counts
from load.simulate.policy import Cells, News, Policy, Turn
from load.simulate.production import Production
from load.simulate.truth import Rewards, Span, Truth, joined
from load.simulate.world import World

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class SegmentResult:
    """What came out of a run in one segment: its share of the traffic, its weights (K,), who leads or serves it, and who
    should."""

    share: float
    weights: Floats
    leader: int
    best: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What came out of a run, in requests and rewards; arrays are per arm (K,).

    `regret` is what the best arm of each moment would have brought beyond the arms chosen. `path` (refreshes, 1 + K)
    holds the moment and the weights from it on, when it was asked for. In a world with segments the best arm of each
    moment is the segment's own.
    """

    regret: float
    weights: Floats
    leader: int
    best: tuple[int, ...]
    stopped_at: int | None
    retired: tuple[tuple[int, int], ...]
    shares: Floats
    path: Floats = field(default_factory=lambda: np.empty((0, 0)))
    segments: tuple[SegmentResult, ...] = ()


# Called after each refresh with the moment, the sums so far, the policy, and the weights from then on.
Watcher = Callable[[int, Cells, Policy, Turn], None]


def run(world: World, seed: int, number: int = 0, *, has_path: bool = False, watch: Watcher | None = None) -> Result:
    """Play the world with its policy; the same seed and number give the same run, whatever else runs beside it."""
    policy: Policy = baseline(world) or Production(world)
    play = _Play(world, np.random.default_rng([seed, number]))
    now, path = 0, []
    turn = policy.turn(0, {}, [], play.truth.costs_usd(0))
    while now < world.requests:
        if has_path:
            path.append([now, *(part / PARTS for part in turn.parts)])
        end = min(now + world.refresh, world.requests)
        play.serve(now, end, turn)
        now = end
        news = play.deliver(now)
        turn = policy.turn(now, play.counted.changed(), news, play.truth.costs_usd(now))
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
        segments=tuple(
            SegmentResult(
                share=segment.share,
                weights=np.array(turn.segments[number] if turn.segments else turn.parts) / PARTS,
                leader=verdict.segments[number] if verdict.segments else verdict.leader,
                best=tuple(play.truth.best_of(now, number)),
            )
            for number, segment in enumerate(world.segments)
        ),
    )


class _Play:
    """The world in motion. Mutable: what is counted, rewards on their way, requests per arm and regret."""

    def __init__(self, world: World, rng: np.random.Generator) -> None:
        self.truth = Truth(world)
        self.counted = Counts(len(world.arms), world.window_told, has_segments=bool(world.segments))
        self._traffic = [segment.share for segment in world.segments]
        self.requests = np.zeros(len(world.arms))
        self.regret = 0.0
        self._rng = rng
        self._on_the_way = joined([])

    def serve(self, begin: int, end: int, turn: Turn) -> None:
        """Let the requests of one refresh happen."""
        later = [self._on_the_way]
        for span in self.truth.spans(begin, end):
            if not self._traffic:
                later.append(self._serve(span, span.requests, turn, 0))
                continue
            parts = self._rng.multinomial(span.requests, np.array(self._traffic) / sum(self._traffic))
            for number, requests in enumerate(parts.tolist()):
                later.append(self._serve(self.truth.of_segment(span, number), requests, turn, number))
        self._on_the_way = joined(later)

    def _serve(self, span: Span, requests: int, turn: Turn, segment: int) -> Rewards:
        """Let requests of one segment happen; return the rewards that come later."""
        # Where the policy was told of no segments, all is counted in one.
        place = segment if turn.segments else 0
        counts = self._rng.multinomial(
            requests, np.array(turn.segments[place] if turn.segments else turn.parts) / PARTS
        )
        self.requests += counts
        self.regret += float(counts @ (span.value.max() - span.value))
        self.counted.requests(turn, counts, place)
        sums, some = self.truth.rewards(span, counts, turn.block, self._rng)
        # Rewards of decisions that were not the experiment's are kept apart by the gateway, and change nothing.
        if not turn.is_learned:
            return joined([])
        self.counted.immediate(turn.block, sums, place)
        return replace(some, arm=some.arm + cell_arm(0, place))

    def deliver(self, now: int) -> list[News]:
        """Count the rewards that have arrived; return all that is new since the last refresh."""
        is_here = self._on_the_way.at <= now
        if is_here.any():
            self.counted.delayed(self._on_the_way.cut(is_here))
            self._on_the_way = self._on_the_way.cut(~is_here)
        return self.counted.news()
