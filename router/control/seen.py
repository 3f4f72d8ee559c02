"""What the leader reads for one refresh of an experiment, and the cost that follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bandits.life import Event
from router.control.dossier import ArmCost, Dossier
from router.heartbeat import ExperimentBeat
from serving.cost import Line, cost_usd

Cells = Mapping[tuple[int, int], Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the leader read for this refresh: sums per (arm, block), the live gateways, prices, new calibrations.

    `is_complete`: every live gateway has had time to be heard. After an outage of the store some still have not, and
    they send requests by old weights.
    """

    cells: Cells
    beats: Sequence[ExperimentBeat]
    prices_usd_per_hour: Mapping[str, float]
    calibrated: Mapping[str, ArmCost]
    events: Sequence[Event]
    is_complete: bool = True


def deciding_price(dossier: Dossier, arm: int, prices_usd_per_hour: Mapping[str, float]) -> float:
    """Return the price an hour that the arm is judged by: the one held, or the current one before the first refresh."""
    backend = dossier.spec.arms[arm].backend
    held = dossier.document.prices.get(backend)
    return prices_usd_per_hour[backend] if held is None else held.usd_per_hour


def deciding_cost_usd(dossier: Dossier, arm: int, prices_usd_per_hour: Mapping[str, float]) -> float:
    """Return what one prediction of the arm costs at the reference size and the price held; 0 while not calibrated."""
    cost = dossier.document.costs.get(dossier.spec.arms[arm].name)
    if cost is None:
        return 0.0
    line, price = Line(cost.a_s, cost.b_s), deciding_price(dossier, arm, prices_usd_per_hour)
    return cost_usd(line, cost.scale, dossier.document.reference_rows, price)
