"""What the leader reads for one refresh of an experiment, and the cost that follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bandits.life import Event
from router.control.dossier import ArmCost, Dossier
from router.control.shadows import Shadowing
from router.control.tally import Cells
from router.heartbeat import ExperimentBeat
from serving.cost import Line, cost_usd


@dataclass(frozen=True, slots=True)
class Seen:
    """What the leader read for this refresh: sums per (arm, block), the live gateways, prices, new calibrations.

    Of the sums it is enough to have those that have changed since the tally was last used.
    A backend whose price is not known has none; `price_warnings` say, by backend, why a price can't be relied on,
    and `capacities_rps` what a backend bears, of those that have a bound; `alone_on` how many replicas there are of each
    backend that serves nothing but this experiment's arms.
    `is_complete`: every live gateway has had time to be heard. After an outage of the store some still have not, and
    they send requests by old weights. `shadowing`: the copies.
    """

    cells: Cells
    beats: Sequence[ExperimentBeat]
    prices_usd_per_hour: Mapping[str, float]
    calibrated: Mapping[str, ArmCost]
    events: Sequence[Event]
    is_complete: bool = True
    # Rewards that were acknowledged wait in some gateway's spool: what is counted is not all there is.
    is_spooling: bool = False
    price_warnings: Mapping[str, str] = field(default_factory=dict)
    capacities_rps: Mapping[str, float] = field(default_factory=dict)
    alone_on: Mapping[str, int] = field(default_factory=dict)
    shadowing: Shadowing = field(default_factory=Shadowing)


def deciding_price(dossier: Dossier, arm: int, prices_usd_per_hour: Mapping[str, float]) -> float | None:
    """Return the price an hour that the arm is judged by: the one held, or the current one before the first refresh.

    None while no price is known.
    """
    backend = dossier.spec.arms[arm].backend
    held = dossier.document.prices.get(backend)
    return prices_usd_per_hour.get(backend) if held is None else held.usd_per_hour


def deciding_cost_usd(dossier: Dossier, arm: int, prices_usd_per_hour: Mapping[str, float]) -> float | None:
    """Return what one prediction of the arm costs at the reference size, or alone if it is never merged, and the price
    held; None while that is not known: it was never calibrated, or its backend has no price yet.
    """
    cost, price = (
        dossier.document.costs.get(dossier.spec.arms[arm].name),
        deciding_price(dossier, arm, prices_usd_per_hour),
    )
    if cost is None or price is None:
        return None
    rows = dossier.document.reference_rows if cost.is_merged else 1
    return cost_usd(Line(cost.a_s, cost.b_s), cost.scale, rows, price)


def unreliable_prices(dossier: Dossier, seen: Seen) -> list[str]:
    """Say in words which prices of this experiment can't be relied on."""
    backends = {arm.backend for arm in dossier.spec.arms}
    return [words for name, words in sorted(seen.price_warnings.items()) if name in backends]


def unreliable(dossier: Dossier, seen: Seen) -> list[str]:
    """Say in words why nothing may be ended on what was seen: prices, or rewards that are not counted yet."""
    waiting = ["rewards wait, or may wait, in the spool of a gateway"] if seen.is_spooling else []
    return unreliable_prices(dossier, seen) + waiting
