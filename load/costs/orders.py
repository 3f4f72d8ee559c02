"""Whether the arms come in the same order of cost, whatever else the machine does. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trial:
    """One gateway, begun anew: what a prediction of each arm cost in the end ($), and how the machine was."""

    condition: str
    number: int
    costs_usd: Mapping[str, float]
    reference_rows: int
    answered: int
    failed: int
    load_average: float

    @property
    def order(self) -> tuple[str, ...]:
        """The arms, the cheapest first."""
        return tuple(sorted(self.costs_usd, key=lambda arm: self.costs_usd[arm]))


def disagreeing(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials whose order is not that of most."""
    orders = [trial.order for trial in trials]
    usual = max(orders, key=orders.count, default=())
    return [trial for trial in trials if trial.order != usual]
