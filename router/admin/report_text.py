"""An experiment's report as Markdown: for a page, a ticket, or a terminal."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from router.admin.report_plot import shares_svg

_MILLION: Final = 1e6
# What would be markup in a table's cell.
_ESCAPES: Final = str.maketrans({"|": "\\|", "<": "&lt;", ">": "&gt;", "&": "&amp;", "\n": " ", "`": "'"})


def markdown(report: Mapping[str, Any], *, has_plot: bool = True) -> str:
    """Write the report; the plot is inline SVG, left out where nobody can see it."""
    lines = [f"# Report: {_text(report['name'])}", "", *_finding(report), "", "## Why it stopped", "", *_why(report)]
    lines += ["", "## What it earned", "", *_money(report), "", "## Arms", "", *_arms(report)]
    svg = shares_svg([arm["name"] for arm in report["arms"]], report["blocks"]) if has_plot else ""
    if svg:
        lines += ["", "## Share of the traffic", "", svg]
    if report["alarms"]:
        lines += ["", "## Alarms", "", *(f"- {_text(words)}" for words in report["alarms"])]
    if report["shadow"]:
        lines += ["", "## Copies, never answered from", "", *_shadow(report)]
    lines += ["", "## What happened", "", "| when (UTC) | what | before | after | why |", "|---|---|---|---|---|"]
    lines += [
        _row(_moment(note.get("now")), *(note.get(key) for key in ("what", "before", "after", "why")))
        for note in report["history"]
    ]
    return "\n".join([*lines, ""])


def _finding(report: Mapping[str, Any]) -> Iterator[str]:
    winner, control, outcome = _text(report["winner"]), _text(report["control"]), report["outcome"]
    if report["why"]["overruled"] and report["winner"]:
        yield f"**{winner} serves, by a person's word.**"
    elif outcome == "replaced":
        yield f"**{winner} serves in the place of {control}.**"
    elif outcome == "kept":
        yield f"**{control} stays.**"
    elif outcome == "undecided":
        yield "**Undecided: no arm was shown to be better, and nothing was unloaded.**"
    else:
        yield f"**Nothing is decided yet: the experiment is {_text(report['phase'])}.**"
    yield ""
    when = f"Model {_text(report['model'])}, epoch {_text(report['epoch'])}"
    if report["started_at"] is not None:
        when += f", learning since {_moment(report['started_at'])}"
    if report["ended_at"] is not None:
        when += f", ended {_moment(report['ended_at'])}"
    yield f"{when} (UTC)."


def _why(report: Mapping[str, Any]) -> Iterator[str]:
    why = report["why"]
    if report["ended_at"] is None:
        yield "It has not."
        for waiting in why["not_ready"]:
            yield f"- It waits for: {_text(waiting)}"
    else:
        yield f"{_text(why['reason'])}."
    if why["overruled"]:
        yield f"Since then {_text(report['winner'])} serves: {_text(why['overruled'])}."
    if why["claim"]:
        claim = why["claim"]
        yield f"{claim[0].upper()}{claim[1:]}: by a confidence sequence, which holds however often one looks."
        yield "That is all that is claimed of the others."
    if why["value_remaining_q95"] is not None:
        left, least = why["value_remaining_q95"], why["threshold"]
        yield f"Value remaining (95 % quantile, a Bayesian figure): {left:.2%} of the leader's; drained below {least:.2%}."
    worth = report["continuing"].get("worth_usd_day")
    frees = report["retiring"].get("frees_usd_day") or 0.0
    if worth is not None:
        freed = f"${frees:,.2f} a day" if frees else "$0 a day, and capacity"
        cost = report["continuing"].get("cost_usd_day") or 0.0
        yield f"Continuing was worth ${worth:,.4g} a day and cost ${cost:,.4g}; retiring frees {freed}."


def _money(report: Mapping[str, Any]) -> Iterator[str]:
    money = report["money"]
    if money["difference_usd"] is None:
        yield f"{money['requests']:,} requests. What they earned can't be told: the value of an arm is not known."
        return
    low, high = money["difference_usd_low"], money["difference_usd_high"]
    control = _text(report["control"])
    yield f"{money['requests']:,} requests earned ${money['earned_usd']:,.6g}; {control} alone would have earned"
    yield f"${money['always_control_usd']:,.6g} with them: a difference of ${money['difference_usd']:,.4g}"
    yield f"(95 %: ${low:,.4g} to ${high:,.4g})."
    yield "Both by the arms' estimated values at the common batch size and the prices decided by; what was billed is in `/costs`."


def _arms(report: Mapping[str, Any]) -> Iterator[str]:
    total = sum(arm["decisions"] for arm in report["arms"]) or 1
    yield "| arm | state | requests | share | reward (mean) | cost* | value* (95 %) | best with probability |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    for arm in report["arms"]:
        low, high = arm["value_usd_low"], arm["value_usd_high"]
        span = "" if low is None or high is None else f" ({low * _MILLION:.4g} to {high * _MILLION:.4g})"
        yield _row(
            arm["name"],
            arm["state"],
            f"{arm['decisions']:,}",
            f"{arm['decisions'] / total:.1%}",
            _number(arm["rate"]),
            _number(arm["prediction_cost_usd"], _MILLION),
            _number(arm["value_usd"], _MILLION) + span,
            _number(arm["best_probability"]),
        )
    yield ""
    yield "\\* $ per million predictions."


def _shadow(report: Mapping[str, Any]) -> Iterator[str]:
    yield "| arm | copies | compared | agreement | errors | dropped | p50 ms | answered p50 ms | cost $ |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for one in report["shadow"]:
        yield _row(
            one["arm"],
            f"{one['mirrored']:,}",
            f"{one['compared']:,}",
            _number(one["agreement"]),
            sum(one["errors"].values()),
            sum(one["dropped"].values()),
            _number(one["shadow_ms"]["p50"]),
            _number(one["answered_ms"]["p50"]),
            _number(one["cost_usd"]),
        )
    yield ""
    yield "Since the leading gateway began; nothing of it was learned from, and no arm's cost holds any of it."


def _number(value: float | None, scale: float = 1.0) -> str:
    return "–" if value is None else f"{value * scale:.4g}"


def _row(*cells: Any) -> str:
    return "| " + " | ".join(_text(cell) for cell in cells) + " |"


def _text(value: Any) -> str:
    """Return a value as text that is no markup: names and reasons are others' words."""
    if value is None or value == "":
        return "–"
    text = str(value)
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    return text.translate(_ESCAPES)


def _moment(at: Any) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S") if isinstance(at, int | float) else "–"
