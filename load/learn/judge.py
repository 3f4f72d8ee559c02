"""Whether a figure meets its bar: met, missed, or unclear when so few repetitions can't tell it from chance."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from scipy.special import betaincinv, stdtrit

Verdict = Literal["met", "unclear", "missed", "elsewhere", "waiting"]

# One-sided: a figure beyond its bar counts as missed when chance alone would bring it there in 1 of 20 tables.
CHANCE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Demand:
    """One figure against its bar. `seen` says it in words, with its bar when that is missed."""

    seen: str
    verdict: Verdict


def share_at_most(what: str, hits: int, runs: int, bar: float) -> Demand:
    """Judge a share of runs that should be rare."""
    lowest = float(betaincinv(hits, runs - hits + 1, CHANCE)) if hits else 0.0
    return _judged(f"{what} {_share(hits, runs)}", hits <= bar * runs, lowest <= bar, f"<= {bar:g}")


def share_at_least(what: str, hits: int, runs: int, bar: float) -> Demand:
    """Judge a share of runs that should be large."""
    highest = float(betaincinv(hits + 1, runs - hits, 1 - CHANCE)) if hits < runs else 1.0
    return _judged(f"{what} {_share(hits, runs)}", hits >= bar * runs, highest >= bar, f">= {bar:g}")


def mean_at_most(what: str, numbers: Sequence[float], bar: float) -> Demand:
    """Judge a mean."""
    mean, error = mean_error(numbers)
    lowest = mean - _quantile(len(numbers)) * error if len(numbers) > 1 else -math.inf
    return _judged(f"{what} {mean:,.4g} ± {error:.2g}", mean <= bar, lowest <= bar, f"<= {bar:,g}")


def mean_within(what: str, numbers: Sequence[float], low: float, high: float) -> Demand:
    """Judge a mean that should lie between two bars."""
    mean, error = mean_error(numbers)
    reach = _quantile(len(numbers)) * error if len(numbers) > 1 else math.inf
    is_near = low - reach <= mean <= high + reach
    return _judged(f"{what} {mean:,.3g} ± {error:.2g}", low <= mean <= high, is_near, f"in {low:g}..{high:g}")


def quantile_at_most(what: str, numbers: Sequence[float], share: float, bar: float) -> Demand:
    """Judge the number that this share of the runs does not exceed; a run that never got there counts as infinite.

    It is missed when more runs exceed the bar than the share would allow by chance.
    """
    ordered = sorted(numbers)
    found = statistics.median(ordered) if share == 0.5 else ordered[math.ceil(share * len(ordered)) - 1]
    beyond = sum(number > bar for number in numbers)
    could_be = float(betaincinv(beyond, len(numbers) - beyond + 1, CHANCE)) <= 1 - share if beyond else True
    name = what if share == 0.5 else f"{what} p{share * 100:.0f}"
    text = "never" if math.isinf(found) else f"{found:,.4g}"
    return _judged(f"{name} {text}", found <= bar, could_be, f"<= {bar:,g}")


def median_at_most(what: str, numbers: Sequence[float], bar: float) -> Demand:
    """Judge a median."""
    return quantile_at_most(what, numbers, 0.5, bar)


def worst_at_most(what: str, numbers: Sequence[float], bar: float) -> Demand:
    """Judge the largest of all: an error of arithmetic, a time; chance has no part in it."""
    worst = max(numbers)
    return _judged(f"{what} {worst:.2g}", worst <= bar, False, f"<= {bar:g}")


def ratio_at_most(what: str, numbers: Sequence[float], others: Sequence[float], bar: float) -> Demand:
    """Judge the ratio of two means, three standard errors allowed."""
    (mean, error), (other, other_error) = mean_error(numbers), mean_error(others)
    ratio = mean / other
    reach = 3 * ratio * math.hypot(error / mean, other_error / other) if mean else 0.0
    return _judged(f"{what} {ratio:.3g} ± {reach / 3:.2g}", ratio <= bar, ratio - reach <= bar, f"<= {bar:g}")


def mean_error(numbers: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error; the error of a single number is 0."""
    error = statistics.stdev(numbers) / math.sqrt(len(numbers)) if len(numbers) > 1 else 0.0
    return statistics.fmean(numbers), error


def worst_of(demands: Sequence[Demand]) -> Verdict:
    """Return the verdict of a row: that of its worst demand."""
    order: tuple[Verdict, ...] = ("missed", "waiting", "unclear", "met", "elsewhere")
    return min((demand.verdict for demand in demands), key=order.index)


def _judged(seen: str, is_met: bool, could_be_met: bool, bar: str) -> Demand:
    if is_met:
        return Demand(seen, "met")
    return Demand(f"{seen} (bar {bar})", "unclear" if could_be_met else "missed")


def _share(hits: int, runs: int) -> str:
    return f"{hits / runs:.3g} ({hits} of {runs})"


def _quantile(runs: int) -> float:
    return float(stdtrit(runs - 1, 1 - CHANCE))
