"""What shares of the traffic follow from how arms compare: the policy's, equal ones at first, or a sprint's."""

import numpy as np
from numpy.typing import NDArray

from bandits import sprint, weights
from bandits.draws import best_shares
from bandits.ids import information_directed
from bandits.question import Question

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def by_policy(question: Question, is_live: Bools, scores: Floats, *, is_untried: bool) -> Floats:
    """Return the shares (K,) by scores (draws, K): equal while a live arm is untried; with floor and caps."""
    caps = np.array([arm.max_share for arm in question.arms])
    if is_live.sum() > 1 and is_untried:
        shares = is_live.astype(np.float64)
    elif question.policy.kind == "ids":
        shares = information_directed(scores, is_live)
    else:
        shares = best_shares(scores, is_live, weights.unfloored(caps, is_live, question.policy.floor))
    return bounded(question, is_live, shares)


def by_sprint(question: Question, is_live: Bools, waiting: Bools, leader: int) -> Floats:
    """Return the shares (K,) of a sprint: the leader's, the rest over the arms that wait to be judged."""
    wanted = sprint.shares(
        contenders(question, waiting, leader), len(question.arms), leader, question.stop.sprint_leader or 1.0
    )
    return bounded(question, is_live, wanted)


def contenders(question: Question, waiting: Bools, leader: int) -> list[int]:
    """Return the arms that a sprint gives traffic to: of each model that waits to be judged, the cheapest."""
    costs = np.array([arm.cost_usd for arm in question.arms])
    return sprint.representatives(waiting & (np.arange(waiting.size) != leader), question.models(), costs)


def bounded(question: Question, is_live: Bools, shares: Floats) -> Floats:
    """Return the shares with every live arm's floor and within the caps."""
    caps = np.array([arm.max_share for arm in question.arms])
    return weights.capped(weights.floored(shares, is_live, question.policy.floor), caps, question.control)
