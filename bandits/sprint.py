"""The confirmation sprint: who gets what share in it, how long it will take, and what it costs.

Once nothing of value remains, the leader keeps a fixed share and the arms that are not refuted split the rest: a
starved arm could never be refuted (bandit-science.md, Part II §0). The length is an estimate, our own: log E grows like
half the squared distance to the claim, in standard errors, less half the log of one plus the information.
Shapes: K arms.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# The mixture of the confidence sequence is spread over differences of about this many standard deviations of a reward:
# the middle one of those in bandits/continuous.py.
MIXTURE_SPREAD = 0.1
# The information needed follows from itself only through a logarithm: after ten rounds it stands to 1e-6.
ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Contest:
    """A claim that is not refuted yet: by how much reward it is thought to be false, log E so far, the spread of one
    reward of challenger and leader, their outcomes so far, and their shares in the sprint."""

    short: float
    log_evidence: float
    noise_k: float
    noise_l: float
    trials_k: float
    trials_l: float
    share_k: float
    share_l: float


def shares(contenders: Sequence[int], arms: int, leader: int, leader_share: float) -> Floats:
    """Return the shares (K,): the leader's, the rest split over the contenders."""
    given = np.zeros(arms)
    given[list(contenders)] = (1.0 - leader_share) / max(1, len(contenders))
    given[leader] = leader_share
    return given


def representatives(contenders: Bools, models: Sequence[int], costs: Floats) -> list[int]:
    """Return of each model's contenders the cheapest: copies share their statistics."""
    order = sorted(np.flatnonzero(contenders).tolist(), key=lambda arm: (float(costs[arm]), arm))
    first: dict[int, int] = {}
    for arm in order:
        first.setdefault(models[arm], arm)
    return sorted(first.values())


def requests_needed(contests: Iterable[Contest], bar: float) -> float:
    """Return after about how many more requests all claims will be refuted; inf if one is thought to be true."""
    return max((_needed(one, bar) for one in contests), default=0.0)


def _needed(contest: Contest, bar: float) -> float:
    """Return the requests after which log E of this claim is expected to reach the bar."""
    if contest.short <= 0.0 or contest.share_k <= 0.0 or contest.share_l <= 0.0:
        return math.inf
    a, b = max(contest.noise_k**2, 1e-18), max(contest.noise_l**2, 1e-18)
    spread = MIXTURE_SPREAD**2 * (a + b) / 2.0
    n_k, n_l, s_k, s_l = contest.trials_k, contest.trials_l, contest.share_k, contest.share_l
    information = _information(bar, contest.short, spread)
    now = n_k * n_l / max(a * n_l + b * n_k, 1e-300)
    if information <= now:
        # By the means it should be refuted already, and is not: what the evidence itself says, then.
        seen = 2.0 * contest.log_evidence + math.log1p(spread * now)
        if seen <= 0.0:
            return math.inf
        information = _information(bar, math.sqrt(seen / now), spread)
    # 1 / information = a / (n_k + s_k x) + b / (n_l + s_l x): a quadratic in x with one root above 0, or none.
    square = s_k * s_l
    line = n_k * s_l + n_l * s_k - information * (a * s_l + b * s_k)
    rest = n_k * n_l - information * (a * n_l + b * n_k)
    if rest >= 0.0 and line >= 0.0:
        return 0.0
    return max(0.0, (-line + math.sqrt(max(0.0, line**2 - 4.0 * square * rest))) / (2.0 * square))


def _information(bar: float, short: float, spread: float) -> float:
    """Return how precisely the difference has to be known to refute a claim that is this far off."""
    information = 2.0 * bar / short**2
    for _ in range(ROUNDS):
        information = (2.0 * bar + math.log1p(spread * information)) / short**2
    return information


def given_up_usd(given: Floats, earned: Floats, leader: int) -> float:
    """Return what these shares (K,) give up per prediction, for mean earnings (K,): only to arms that earn less."""
    return float(given @ np.maximum(0.0, earned[leader] - earned))
