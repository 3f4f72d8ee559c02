"""A plan in words."""

from typing import Any


def sentences(plan: dict[str, Any]) -> list[str]:
    """Say in words what the plan says in numbers."""
    name = plan["arms"][plan["best"]]["name"]
    cost = f"${plan['cost_usd']:.3g} in {_time(plan['max_days'])}"
    against = f"against serving {name} from the start; an even split would give up ${plan['even_split_usd']:.3g}"
    if plan["reason"] == "equal":
        return [
            f"{name} earns most, but another earns exactly as much: it can't be decided, and need not be.",
            f"{plan['ended']:.0%} of {plan['runs']} simulated runs ended within {_time(plan['max_days'])}{_median(plan)}.",
        ]
    gap = "" if plan["gap"] is None else f", {plan['gap']:.2g} of its value more than the next"
    said = [f"{name} earns most{gap}."]
    if plan["reason"] is None:
        said.append(f"It will take {_days(plan['days'])}, {plan['requests']['median']:,.0f} requests.")
        said.append(f"It gives up {cost}, {against}.")
        ended = f"{plan['ended']:.0%} of {plan['runs']} simulated runs ended, {plan['right']:.0%} of them on {name}."
        return [*said, ended]
    if plan["reason"] == "time":
        said.append(
            f"It can't be decided within {_time(plan['max_days'])}: {plan['ended']:.0%} of {plan['runs']} "
            f"simulated runs ended. {_would_take('It would take', plan['formula'])}"
        )
    else:
        said.append(
            f"It can't be decided: the gap is smaller than what the experiment looks for. It ends after "
            f"{_days(plan['days'])}, since little can be lost, but on {name} in only {plan['right']:.0%} of "
            f"{plan['runs']} simulated runs. {_would_take('To tell them apart would take', plan['to_tell'])}"
        )
    return [*said, f"Until then it gives up {cost}, {against}."]


def _would_take(words: str, needed: dict[str, float | None]) -> str:
    requests, days = needed["requests"], needed["days"]
    if requests is None or days is None:
        return f"{words} more requests than there are."
    return f"{words} about {requests:,.0f} requests, {_time(days)}."


def _median(plan: dict[str, Any]) -> str:
    return "" if plan["days"] is None else f", half of these by {_days(plan['days'])}"


def _days(days: dict[str, float]) -> str:
    return f"{_time(days['median'])} ({_time(days['low'])} to {_time(days['high'])})"


def _time(days: float) -> str:
    """Write a time in the unit in which it is more than one."""
    for unit, per_day in (("day", 1.0), ("hour", 24.0), ("minute", 1440.0), ("second", 86_400.0)):
        number = days * per_day
        if number >= 1.0 or unit == "second":
            text = f"{number:.2g}" if number < 10 else f"{number:,.0f}"
            return f"{text} {unit}" if text == "1" else f"{text} {unit}s"
    raise AssertionError
