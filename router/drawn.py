"""Shares and posteriors drawn in a line of a terminal: bars, and densities on an axis that all arms share."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_HEIGHTS: Final = "▁▂▃▄▅▆▇█"
# Standard deviations from the middle of a normal distribution to the end of its 95 % interval.
_ENDS_SIGMA: Final = 1.959964
# A cell below this part of the highest one stays empty: at the lowest eighth it would seem as likely as the next.
_SHOWN_MIN: Final = 0.01
# An axis wider than the intervals themselves by this share at each end shows that densities end.
_MARGIN: Final = 0.08

ENDS: Final = ("value_usd_low", "value_usd", "value_usd_high")


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from `low` to `high`, on `cells` cells."""

    low: float
    high: float
    cells: int

    def __post_init__(self) -> None:
        if not (self.low < self.high and self.cells > 0):
            raise ValueError(f"an axis needs a width and cells, got {self}")


def bar(share: object, cells: int) -> str:
    """Return a share from 0 to 1 as a bar of at most so many cells, an eighth being the smallest step."""
    if not is_number(share):
        return ""
    eighths = round(min(1.0, max(0.0, share)) * cells * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def axis_of(arms: Iterable[Mapping[str, Any]], cells: int) -> Axis | None:
    """Return the axis on which the values of all arms fit; None where no interval is known."""
    ends = [end for arm in arms for end in ends_of(arm) or ()]
    if not ends or not min(ends) < max(ends):
        return None
    margin = _MARGIN * (max(ends) - min(ends))
    return Axis(min(ends) - margin, max(ends) + margin, cells)


def ends_of(arm: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Return the lower end, the middle and the upper end of an arm's value; None while they are not known."""
    low, middle, high = (arm.get(key) for key in ENDS)
    if not (is_number(low) and is_number(middle) and is_number(high)) or not low <= high:
        return None
    return low, min(max(low, middle), high), high


def density(arm: Mapping[str, Any], axis: Axis) -> str:
    """Return the posterior of an arm's value, each as high as a line: where it probably is, and how surely.

    It is drawn as half a normal distribution at either side of the middle, each by its end of the 95 % interval.
    """
    ends = ends_of(arm)
    if ends is None:
        return ""
    low, middle, high = ends
    step = (axis.high - axis.low) / axis.cells
    below, above = (max((end - middle) / sign / _ENDS_SIGMA, 0.0) for end, sign in ((low, -1.0), (high, 1.0)))
    masses = [
        _mass(axis.low + cell * step - middle, axis.low + (cell + 1) * step - middle, below, above)
        for cell in range(axis.cells)
    ]
    most = max(masses)
    return "".join(_height(mass / most) for mass in masses) if most > 0.0 else ""


def _mass(start: float, end: float, below: float, above: float) -> float:
    """Return the probability of an interval around the middle (0): its parts below and above have a deviation each."""
    left = _normal(min(end, 0.0), below) - _normal(min(start, 0.0), below)
    right = _normal(max(end, 0.0), above) - _normal(max(start, 0.0), above)
    # Without a deviation all of that half is at the middle itself.
    is_middle = start <= 0.0 < end
    return (left if below > 0.0 else 0.5 * is_middle) + (right if above > 0.0 else 0.5 * is_middle)


def _normal(value: float, deviation: float) -> float:
    return 0.5 * (1.0 + math.erf(value / (deviation * math.sqrt(2.0)))) if deviation > 0.0 else 0.0


def _height(share: float) -> str:
    if share < _SHOWN_MIN:
        return " "
    return _HEIGHTS[min(len(_HEIGHTS) - 1, int(share * len(_HEIGHTS)))]


def is_number(value: object) -> TypeGuard[float]:
    """Say whether this is a number, as JSON has them."""
    return isinstance(value, int | float) and not isinstance(value, bool)
