"""How much of the traffic a backend may get: its `capacity_rps` against the present traffic, as a cap on its arms' shares.

The cap is an average; that no second exceeds the capacity is the workers' to see (`router/capacity.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from bandits.weights import capped
from router.control.dossier import Dossier

_DAY_S: Final = 86_400.0


def rooms(dossier: Dossier, capacities_rps: Mapping[str, float]) -> dict[str, float]:
    """Return per backend the share of the traffic that it can bear, of those that can't bear all."""
    numbers = dossier.document.numbers
    traffic_rps = 0.0 if numbers is None else numbers.requests_per_day / _DAY_S
    backends = {arm.backend for arm in dossier.spec.arms} & capacities_rps.keys()
    return {name: capacities_rps[name] / traffic_rps for name in backends if capacities_rps[name] < traffic_rps}


def within(
    shares: Sequence[float], backends: Sequence[str], rooms_of: Mapping[str, float], control: int
) -> list[float]:
    """Return shares (they sum to 1) whose sum over each backend's arms is within its room; the rest goes to the others in
    proportion, and where nobody has room to control.
    """
    held = np.asarray(shares, np.float64)
    # What one backend gives up may be too much for the next.
    for _ in rooms_of:
        caps = np.ones(held.size)
        for name, room in rooms_of.items():
            mine = np.array([backend == name for backend in backends])
            total = float(held[mine].sum())
            if total >= room > 0.0:
                caps[mine] = held[mine] * (room / total)
        held = capped(held, caps, control)
    return [float(share) for share in held]
