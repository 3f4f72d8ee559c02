"""What a reward's model hands to the assessment: a belief about each arm, and a test of every arm against one."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# The two-sided 95 % of a normal.
Z95 = 1.959964


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """How each arm's claim to be better than the leader stands, (K,); 0 for the leader and for arms that are not live.

    `margin` is a share of the leader's value; `certified_gap` the smallest margin that would be refuted for all.
    """

    log_evidence: Floats
    refuted: Bools
    bar: float
    margin: float
    certified_gap: float


@dataclass(frozen=True, slots=True, eq=False)
class Belief:
    """Mean rewards in the reward's own unit: `rate` (K,) with its 95 % interval, and `drawn` (draws, K) jointly.

    `test(leader, costs)` tests every live arm against the leader at these costs per prediction (K,).
    """

    rate: Floats
    low: Floats
    high: Floats
    drawn: Floats
    test: Callable[[int, Floats], Gate]


def root_of(cov: Floats) -> Floats:
    """Return a lower triangle whose square is the covariance, but for a relative 1e-12 on its diagonal.

    With 1e9 requests a covariance is singular to the last digits; 1e-12 is far below any decision.
    """
    return np.asarray(np.linalg.cholesky(cov + np.eye(len(cov)) * (1e-12 * np.trace(cov))), np.float64)
