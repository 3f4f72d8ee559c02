"""What more data would be worth: the expected gain of choosing again after them, before they are seen.

Source: bandit-science.md, Part II §3.5 (EVSI, and the rule of money). There arms are independent; here the differences to
the leader are taken from the joint draws, so that what all arms have in common is worth nothing. Shapes: D draws, K arms.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# The shortest time looked at is this part of the horizon, and each next twice as long: an hour or so of two weeks.
_SHORTEST: Final = 1 / 256


def sample_worth(earned: Floats, leader: int, trials: Floats, more: Floats) -> float:
    """Return the expected gain per prediction of choosing after `more` outcomes (K,) on top of `trials` (K,).

    `earned` (D, K) are joint draws of what a prediction of each live arm earns. The difference of an arm and the leader
    is known as well as the thinner of the two allows: its precision is trials_k trials_l / (trials_k + trials_l).
    """
    mean = earned.mean(axis=0)
    ahead = mean - mean[leader]
    now, then = (_joint(count, leader) for count in (trials, trials + more))
    learned = np.sqrt(np.divide(then - now, then, out=np.zeros_like(then), where=then > 0.0))
    deviation = (earned - mean) - (earned[:, [leader]] - mean[leader])
    later = (ahead + learned * deviation).max(axis=1)
    return max(0.0, float(later.mean() - ahead.max()))


def pays(worth_usd_day: Callable[[float], float], cost_usd_day: float, horizon_days: float) -> bool:
    """Say whether going on for some time brings more than it costs, until the horizon.

    `worth_usd_day` says what so many days more would be worth on every day after them. One look ahead is short-sighted: an
    hour may bring nothing where a week does, so longer times are tried too, and any that pays is enough.
    """
    days = horizon_days * _SHORTEST
    while days < horizon_days:
        if (horizon_days - days) * worth_usd_day(days) > days * cost_usd_day:
            return True
        days *= 2.0
    return False


def _joint(count: Floats, leader: int) -> Floats:
    total = count + count[leader]
    return np.asarray(np.divide(count * count[leader], total, out=np.zeros_like(count), where=total > 0.0), np.float64)
