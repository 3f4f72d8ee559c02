"""Pictures for notebooks: tables and inline SVG, without scripts, and with every name escaped.

Names of experiments and arms, and all numbers, come from a server: nothing of them is ever markup here.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

# Okabe and Ito's, told apart by colour-blind eyes too.
_COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#7F7F7F")
_WIDTH: Final = 640
_ROW: Final = 22
_LEFT: Final = 150
_BAR: Final = 180
_PLOT_LEFT: Final = 390
_PLOT: Final = 230
_NAME_MAX: Final = 24
# A table of thousands of rows hangs a notebook.
_ROWS_MAX: Final = 100


def state_html(state: Mapping[str, Any]) -> str:
    """Draw an experiment: each arm's share of the traffic, and what a prediction earns with its interval."""
    arms = [arm for arm in _list(state.get("arms")) if isinstance(arm, Mapping)][:_ROWS_MAX]
    facts = [f"<b>{_text(state.get('name'))}</b>", _text(state.get("phase"))]
    if state.get("leader") is not None:
        facts.append(f"leader {_text(state.get('leader'))}")
    if state.get("winner") is not None:
        facts.append(f"winner {_text(state.get('winner'))}")
    remaining = state.get("value_remaining")
    q95 = _number(remaining.get("q95")) if isinstance(remaining, Mapping) else None
    if q95 is not None:
        facts.append(f"value remaining {q95:.2%}")
    return f"<div>{' · '.join(facts)}</div>{_svg(arms)}"


def table_html(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a table; what is None is a dash."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{_text(row.get(column))}</td>" for column in columns) + "</tr>"
        for row in list(rows)[:_ROWS_MAX]
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def steps_html(title: str, steps: Iterable[Mapping[str, Any]], error: str) -> str:
    """Draw a deployment: its steps, and why it failed."""
    marks = {"done": "✔", "running": "…", "failed": "✘"}
    lines = "".join(
        f"<li>{marks.get(str(step.get('state')), '·')} {_text(step.get('name'))} {_text(step.get('detail') or '')}</li>"
        for step in list(steps)[:_ROWS_MAX]
    )
    why = f"<p>{_text(error)}</p>" if error else ""
    return f'<div><b>{_text(title)}</b><ul style="list-style:none;padding-left:0">{lines}</ul>{why}</div>'


def _svg(arms: Sequence[Mapping[str, Any]]) -> str:
    height = _ROW * (len(arms) + 2)
    low, high = _span(arms)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12" fill="currentColor">',
        "<title>share of the traffic and value of each arm</title>",
        f'<text x="{_LEFT}" y="15">share</text>',
        f'<text x="{_PLOT_LEFT}" y="15">$ per million predictions, 95 %</text>',
    ]
    for place, arm in enumerate(arms):
        parts.append(_row(arm, place, low, high))
    if high > low:
        y = _ROW * (len(arms) + 1) + 15
        parts.append(f'<text x="{_PLOT_LEFT}" y="{y}">{low * 1e6:.4g}</text>')
        parts.append(f'<text x="{_PLOT_LEFT + _PLOT}" y="{y}" text-anchor="end">{high * 1e6:.4g}</text>')
    return "".join([*parts, "</svg>"])


def _row(arm: Mapping[str, Any], place: int, low: float, high: float) -> str:
    colour = _COLOURS[place % len(_COLOURS)]
    y = _ROW * (place + 1)
    share = min(1.0, max(0.0, _number(arm.get("weight")) or 0.0))
    name, state = _text(arm.get("name"), _NAME_MAX), _text(arm.get("state"), _NAME_MAX)
    parts = [
        f'<text x="0" y="{y + 15}">{name}<title>{name}: {state}</title></text>',
        f'<rect x="{_LEFT}" y="{y + 4}" width="{share * _BAR:.1f}" height="{_ROW - 8}" fill="{colour}"/>',
        f'<text x="{_LEFT + _BAR + 4}" y="{y + 15}">{share:.1%}</text>',
    ]
    middle, bounds = (
        _number(arm.get("value_usd")),
        (_number(arm.get("value_usd_low")), _number(arm.get("value_usd_high"))),
    )
    if middle is not None and bounds[0] is not None and bounds[1] is not None and high > low:
        left, at, right = (_x(value, low, high) for value in (bounds[0], middle, bounds[1]))
        parts.append(
            f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{y + 11}" y2="{y + 11}" stroke="{colour}" stroke-width="3"/>'
            f'<circle cx="{at:.1f}" cy="{y + 11}" r="4" fill="{colour}"/>'
        )
    return "".join(parts)


def _span(arms: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the least and the greatest value of all intervals; equal when there is none."""
    keys = ("value_usd_low", "value_usd", "value_usd_high")
    values = [number for arm in arms for key in keys if (number := _number(arm.get(key))) is not None]
    return (min(values), max(values)) if values else (0.0, 0.0)


def _x(value: float, low: float, high: float) -> float:
    return _PLOT_LEFT + (value - low) / (high - low) * _PLOT


def _number(value: Any) -> float | None:
    """Return a finite number, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e300 else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any, length_max: int = 200) -> str:
    """Return a value as text that is safe between tags and in attributes, without what can't be printed."""
    if value is None:
        return "–"
    text = "".join(char if char.isprintable() else "?" for char in str(value)[:length_max])
    return escape(text, quote=True)
