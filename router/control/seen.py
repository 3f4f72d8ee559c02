"""What the leader reads for one refresh of an experiment, and the cost that follows from it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bandits.life import Event
from bandits.sums import ARMS_PER_SEGMENT
from router.control.dossier import ArmCost, Dossier
from router.heartbeat import ExperimentBeat
from serving.cost import Line, cost_usd

Cells = Mapping[tuple[int, int], Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the leader read for this refresh: sums per (arm, block), the live gateways, prices, new calibrations.

    A backend whose price is not known has none; `price_warnings` say, by backend, why a price can't be relied on,
    and `capacities_rps` what a backend bears, of those that have a bound.
    `is_complete`: every live gateway has had time to be heard. After an outage of the store some still have not, and
    they send requests by old weights.
    """

    cells: Cells
    beats: Sequence[ExperimentBeat]
    prices_usd_per_hour: Mapping[str, float]
    calibrated: Mapping[str, ArmCost]
    events: Sequence[Event]
    is_complete: bool = True
    price_warnings: Mapping[str, str] = field(default_factory=dict)
    capacities_rps: Mapping[str, float] = field(default_factory=dict)
    # With segments: the same cells once more for each, see `apart`.
    by_segment: tuple[Cells, ...] = ()


def apart(seen: Seen, segments: int) -> Seen:
    """Return what was seen with the cells of so many segments taken apart, and added up in `cells`; 0: none."""
    if not segments:
        return seen
    by_segment: list[dict[tuple[int, int], Mapping[str, int]]] = [{} for _ in range(segments)]
    alike: defaultdict[tuple[int, int], list[Mapping[str, int]]] = defaultdict(list)
    for (number, block), cell in seen.cells.items():
        segment, arm = divmod(number, ARMS_PER_SEGMENT)
        if segment >= segments:
            # Of no segment of this experiment: no reward of such a decision is taken (router/rewards.py).
            continue
        by_segment[segment][arm, block] = cell
        alike[arm, block].append(cell)
    whole = {place: _total(cells) for place, cells in alike.items()}
    return replace(seen, cells=whole, by_segment=tuple(by_segment))


def _total(cells: Sequence[Mapping[str, int]]) -> Mapping[str, int]:
    """Add up cells. Stores give all fields of each, in one order: field by field it would take ten times as long."""
    first = cells[0]
    if len(cells) == 1:
        return first
    names = list(first)
    if all(list(cell) == names for cell in cells):
        return dict(zip(names, map(sum, zip(*(cell.values() for cell in cells), strict=True)), strict=True))
    names = list(dict.fromkeys(name for cell in cells for name in cell))
    return {name: sum(cell.get(name, 0) for cell in cells) for name in names}


def deciding_price(dossier: Dossier, arm: int, prices_usd_per_hour: Mapping[str, float]) -> float | None:
    """Return the price an hour that the arm is judged by: the one held, or the current one before the first refresh.

    None while no price is known.
    """
    backend = dossier.spec.arms[arm].backend
    held = dossier.document.prices.get(backend)
    return prices_usd_per_hour.get(backend) if held is None else held.usd_per_hour


def deciding_cost_usd(dossier: Dossier, arm: int, prices_usd_per_hour: Mapping[str, float]) -> float | None:
    """Return what one prediction of the arm costs at the reference size and the price held; None while that is not
    known: it was never calibrated, or its backend has no price yet.
    """
    cost, price = (
        dossier.document.costs.get(dossier.spec.arms[arm].name),
        deciding_price(dossier, arm, prices_usd_per_hour),
    )
    if cost is None or price is None:
        return None
    return cost_usd(Line(cost.a_s, cost.b_s), cost.scale, dossier.document.reference_rows, price)
