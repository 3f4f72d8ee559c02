"""One run of a world: requests in, weights out, a refresh at a time, and what it cost not to know."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bandits.weights import PARTS
from load.simulate.baselines import baseline
from load.simulate.policy import Cells, News, Policy, Turn
from load.simulate.production import Production
from load.simulate.truth import Rewards, Truth, joined
from load.simulate.world import World
from router.store import FIELDS

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]

_MS_PER_S: Final = 1000


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


# Called after each refresh with the moment, the sums, and the weights from then on.
Watcher = Callable[[int, Cells, Turn], None]


def run(world: World, seed: int, number: int = 0, *, has_path: bool = False, watch: Watcher | None = None) -> Result:
    """Play the world with its policy; the same seed and number give the same run, whatever else runs beside it."""
    policy: Policy = baseline(world) or Production(world)
    play = _Play(world, np.random.default_rng([seed, number]))
    now, path = 0, []
    turn = policy.turn(0, play.cells, [], play.truth.costs_usd(0))
    while now < world.requests:
        if has_path:
            path.append([now, *(part / PARTS for part in turn.parts)])
        end = min(now + world.refresh, world.requests)
        play.serve(now, end, turn)
        now = end
        turn = policy.turn(now, play.cells, play.deliver(now), play.truth.costs_usd(now))
        if watch is not None:
            watch(now, play.cells, turn)
    verdict = policy.verdict()
    return Result(
        regret=play.regret,
        weights=np.array(turn.parts) / PARTS,
        leader=verdict.leader,
        best=tuple(play.truth.best(now)),
        stopped_at=verdict.stopped_at,
        retired=verdict.retired,
        shares=play.counts / world.requests,
        path=np.array(path),
    )


class _Play:
    """The world in motion. Mutable: the sums as a store would hold them, rewards on their way, requests and regret."""

    def __init__(self, world: World, rng: np.random.Generator) -> None:
        self.truth = Truth(world)
        self.cells: dict[tuple[int, int], dict[str, int]] = defaultdict(lambda: dict.fromkeys(FIELDS, 0))
        self.counts = np.zeros(len(world.arms))
        self.regret = 0.0
        self._rng = rng
        self._on_the_way = joined([])
        self._unlearned: set[int] = set()
        self._news: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])

    def serve(self, begin: int, end: int, turn: Turn) -> None:
        """Let the requests of one refresh happen."""
        shares = np.array(turn.parts) / PARTS
        later = [self._on_the_way]
        for span in self.truth.spans(begin, end):
            counts = self._rng.multinomial(span.requests, shares)
            self.counts += counts
            self.regret += float(counts @ (span.value.max() - span.value))
            sums, some = self.truth.rewards(span, counts, turn.block, self._rng)
            later.append(some)
            for arm in np.flatnonzero(counts).tolist():
                cell = self.cells[arm, turn.block]
                if not turn.is_learned:
                    cell["unlearned_decisions"] += int(counts[arm])
                    continue
                cell["decisions"] += int(counts[arm])
                self._add(arm, turn.block, sums[arm].tolist(), 0)
        if not turn.is_learned:
            # Rewards of decisions that were not the experiment's are kept apart by the gateway, and change nothing.
            later = later[:1]
        self._on_the_way = joined(later)

    def deliver(self, now: int) -> list[News]:
        """Count the rewards that have arrived; return all that is new since the last refresh."""
        is_here = self._on_the_way.at <= now
        if is_here.any():
            self._count(self._on_the_way.cut(is_here))
            self._on_the_way = self._on_the_way.cut(~is_here)
        news = [News(arm, block, count, q) for (arm, block), (count, q) in self._news.items()]
        self._news.clear()
        return news

    def _count(self, here: Rewards) -> None:
        """Add rewards to the cells of their decisions."""
        arms = self.counts.size
        keys, place = np.unique(here.block * arms + here.arm, return_inverse=True)
        delay_ms = np.floor((here.at - here.earned) * _MS_PER_S)
        # Sums of whole numbers below 2^53: exact in doubles.
        columns = [np.bincount(place, part) for part in (here.q, here.q.astype(np.float64) ** 2, delay_ms)]
        counts = np.bincount(place)
        for row, key in enumerate(keys.tolist()):
            q, q2, delay = (int(column[row]) for column in columns)
            self._add(key % arms, key // arms, [int(counts[row]), q, q2], delay)

    def _add(self, arm: int, block: int, sums: list[int], delay_ms: int) -> None:
        cell = self.cells[arm, block]
        rewards, q, q2 = sums
        cell["rewards"] += rewards
        cell["reward_q"] += q
        cell["reward_q2"] += q2
        cell["delay_ms"] += delay_ms
        news = self._news[arm, block]
        news[0] += rewards
        news[1] += q
