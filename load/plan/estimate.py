"""How long an experiment will take and what it will cost: by a formula at once, and by playing it a few times."""

import math
import statistics
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from scipy.special import logit

from bandits.claim import bar_log, margin_of
from load.plan.outlook import Outlook
from load.simulate.run import Result

# What the mixture of the confidence sequence costs on the way to its bar, and the normal quantiles of 95 % and 90 %.
_MIXTURE_NATS: Final = 2.0
_Z95: Final = 1.645
_Z90: Final = 1.282
_ALPHA: Final = 0.05
_DELTA: Final = 0.01
_SPRINT_LEADER: Final = 0.6
# A gap counts as decided when at least so many of the experiments that end do so on the best arm. Where the rule was
# measured to hold (bandit-science.md, Part I §E) it is .98 and more; of arms that earn alike, .5.
RIGHT_MIN: Final = 0.9


def formula_requests(outlook: Outlook) -> float:
    """Estimate how many requests it takes until nothing of value remains and the sprint has confirmed it.

    Infinite when arms earn so much alike that neither can ever be shown. Against the median of 24 simulations each, at
    rates of 5 to 50 % and gaps of 3 to 30 %, it was .5 to 1.6 of it where the rhythm did not decide.
    """
    values, rates = outlook.values(), np.array(outlook.rates)
    best = int(values.argmax())
    arms, rate = rates.size, float(np.clip(rates[best], 1e-6, 1 - 1e-6))
    margin = margin_of(math.sqrt(rate * (1 - rate)), rate, _DELTA, None)
    bar = bar_log(arms, _ALPHA) + _MIXTURE_NATS
    scale = abs(float(values[best]))
    longest = 0.0
    for arm in range(arms):
        if arm == best:
            continue
        # Drained: an even split until the rival is hardly ever better by delta; rewards are binary.
        gap = float(values[best] - values[arm]) + _DELTA * scale
        drained = arms * (_Z95 * _noise(outlook, best, arm) / gap) ** 2 if gap > 0 else math.inf
        # Confirmed: the log odds between the rival and one that would be better by the margin, at the sprint's shares.
        wanted = (float(values[best]) + margin * scale + outlook.costs_usd[arm]) / outlook.value_usd
        confirmed = 0.0
        if 0.0 < wanted < 1.0 and 0.0 < rates[arm] < 1.0:
            distance = float(logit(wanted) - logit(rates[arm]))
            share = (1 - _SPRINT_LEADER) / (arms - 1)
            information = rate * (1 - rate) * share * _SPRINT_LEADER / (share + _SPRINT_LEADER)
            confirmed = 2 * bar / (distance**2 * information) if distance > 0 else math.inf
        longest = max(longest, drained + confirmed)
    return longest


def requests_to_tell(outlook: Outlook) -> float:
    """Return how many requests, split evenly, show the best arm better than the next in nine experiments of ten (95 %).

    The textbook's sample size: no shortcut by a margin below which it does not matter.
    """
    values = outlook.values()
    best, next_best = np.argsort(-values, kind="stable")[:2].tolist()
    gap = float(values[best] - values[next_best])
    return len(values) * ((_Z95 + _Z90) * _noise(outlook, best, next_best) / gap) ** 2 if gap > 0 else math.inf


def _noise(outlook: Outlook, arm: int, other: int) -> float:
    """Return the standard deviation, in dollars, of the difference of two arms' single rewards."""
    spread = sum(outlook.rates[one] * (1 - outlook.rates[one]) for one in (arm, other))
    return outlook.value_usd * math.sqrt(spread)


def answer(outlook: Outlook, results: Sequence[Result]) -> dict[str, Any]:
    """Return the plan as JSON values. Requests and days are over the runs that ended; null when none did.

    `is_decided`: at least half of the runs end in time, and nine in ten of them on the best arm; else `reason` says why
    not. `cost_usd` is what is given up until `max_days` against serving the best arm from the start.
    """
    ends = sorted(result.stopped_at for result in results if result.stopped_at is not None)
    right = sum(result.stopped_at is not None and result.leader in result.best for result in results)
    values, per_day = outlook.values(), outlook.requests_per_day
    ordered = np.sort(values)[::-1]
    reason = _reason(float(ordered[0] - ordered[1]), len(ends), right, len(results))
    return {
        "is_decided": reason is None,
        "reason": reason,
        "requests": _spread([float(end) for end in ends]),
        "days": _spread([end / per_day for end in ends]),
        "ended": len(ends) / len(results),
        "right": right / len(ends) if ends else None,
        "cost_usd": statistics.fmean(result.regret for result in results) * outlook.value_usd,
        "even_split_usd": float(values.max() - values.mean()) * outlook.world().requests,
        "best": int(values.argmax()),
        "gap": float((ordered[0] - ordered[1]) / abs(ordered[0])) if ordered[0] != 0 else None,
        "formula": _needed(formula_requests(outlook), outlook),
        "to_tell": _needed(requests_to_tell(outlook), outlook),
        "arms": [
            {"name": outlook.name(arm), "rate": rate, "cost_usd": cost, "value_usd": float(value)}
            for arm, (rate, cost, value) in enumerate(zip(outlook.rates, outlook.costs_usd, values, strict=True))
        ],
        "runs": len(results),
        "max_days": outlook.max_days,
    }


def _reason(gap: float, ended: int, right: int, runs: int) -> str | None:
    """Say why the gap can't be decided: there is none, there is not enough time, or it is too small to matter."""
    if gap <= 0:
        return "equal"
    if 2 * ended < runs:
        return "time"
    return "gap" if right < RIGHT_MIN * ended else None


def _needed(requests: float, outlook: Outlook) -> dict[str, float | None]:
    if not math.isfinite(requests):
        return {"requests": None, "days": None}
    return {"requests": requests, "days": max(requests / outlook.requests_per_day, outlook.cycle_days)}


def _spread(numbers: Sequence[float]) -> dict[str, float] | None:
    """Return the median and what four fifths of the runs lie between."""
    if not numbers:
        return None
    low, median, high = np.quantile(np.array(numbers), [0.1, 0.5, 0.9]).tolist()
    return {"low": low, "median": median, "high": high}
