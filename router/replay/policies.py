"""The other policy of a replay, as people write it: `uniform`, `arm:NAME`, or `weights:NAME=SHARE,…`."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class BadPolicy(Exception):
    """What was written is no policy, or speaks of arms that are not there."""


def choices(policy: str, arms: Sequence[str], propensities: Floats) -> Floats:
    """Return what the policy would have done, (rows, arms), under each of the logged weights of that shape.

    `uniform` is an equal share for every arm that had a chance at the time; the others are the same at all times.
    """
    kind, _, rest = policy.partition(":")
    if policy == "uniform":
        has_chance = propensities > 0
        equal: Floats = has_chance / np.maximum(has_chance.sum(axis=1, keepdims=True), 1)
        return equal
    if kind == "arm":
        shares = {rest: 1.0}
    elif kind == "weights":
        shares = _shares(rest)
    else:
        raise BadPolicy(f"a policy is uniform, arm:NAME or weights:NAME=SHARE,…; got '{policy}'")
    unknown = sorted(shares.keys() - set(arms))
    if unknown:
        raise BadPolicy(f"the journal has no arm '{unknown[0]}'; there are {', '.join(arms)}")
    row = np.array([shares.get(arm, 0.0) for arm in arms])
    return np.broadcast_to(row, propensities.shape)


def _shares(text: str) -> dict[str, float]:
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        try:
            share = float(number)
        except ValueError:
            share = math.nan
        if name in shares or not 0 <= share <= 1:
            raise BadPolicy(f"weights are NAME=SHARE once for each arm, a share from 0 to 1; got '{part}'")
        shares[name] = share
    total = math.fsum(shares.values())
    # Shares are written with a few digits; a third is .333333.
    if abs(total - 1.0) > 1e-5:
        raise BadPolicy(f"the shares of the weights must add up to 1; they add up to {total:g}")
    return {name: share / total for name, share in shares.items()}
