"""What `turpin experiments`, `arms` and `prices` write for people: tables, bars and words; and JSON for programs."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from router.admin_call import plain
from router.drawn import axis_of, bar, density, is_number
from router.json_text import json_text

# Cells of a bar, and of the axis that intervals are drawn on: with names and numbers they fit into 80.
_BAR: Final = 20
_AXIS: Final = 36
_LEFT: Final = frozenset({"name", "model", "state", "phase", "backend", "share", "value"})
_PER_MILLION: Final = 1e6


def print_done(answer: Mapping[str, Any]) -> None:
    """Say where an experiment stands after a change."""
    words = [str(answer.get("name"))]
    words += [f"{key} {answer[key]}" for key in ("phase", "revision", "winner") if answer.get(key) is not None]
    sys.stdout.write(plain(", ".join(words)) + "\n")
    for key in ("reason", "detail"):
        if answer.get(key):
            sys.stdout.write(plain(str(answer[key])) + "\n")


def print_forecast(answer: Mapping[str, Any]) -> None:
    """Show what a change would do."""
    changes = answer.get("diff") or []
    sys.stdout.write("nothing would change\n" if not changes else "")
    for change in changes:
        was, will = (json.dumps(change.get(key), ensure_ascii=False) for key in ("before", "after"))
        sys.stdout.write(plain(f"{change.get('field')}: {was} -> {will}") + "\n")
    predicted = answer.get("predicted") or {}
    before, after = predicted.get("before") or {}, predicted.get("after") or {}
    shares = {**(before.get("shares") or {}), **(after.get("shares") or {})}
    rows = [
        {
            "arm": arm,
            "share now": (before.get("shares") or {}).get(arm),
            "share then": (after.get("shares") or {}).get(arm),
        }
        for arm in shares
    ]
    print_table(("arm", "share now", "share then"), rows)
    for key in ("value_usd_per_million", "cost_usd_per_million", "value_usd_day"):
        sys.stdout.write(f"{key}: {_cell(before.get(key))} -> {_cell(after.get(key))}\n")


def moment(now: object) -> str:
    """Return a time in unix seconds as people read it."""
    return datetime.fromtimestamp(now, UTC).isoformat(" ", "seconds") if isinstance(now, int | float) else "-"


def write_json(value: object) -> None:
    """Write JSON for programs."""
    sys.stdout.write(json_text(value, indent=2) + "\n")


def print_table(columns: tuple[str, ...], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table for people."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in _LEFT else "right")
    for row in rows:
        # Text, not markup: what a server sends is shown, never obeyed.
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    # Piped into a file a table is as wide as it has to be.
    console = Console(width=None if sys.stdout.isatty() else 240)
    console.print(table)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return plain(f"{value:.4g}" if isinstance(value, float) else str(value))


def print_picture(arms: Sequence[Mapping[str, Any]]) -> None:
    """Draw each arm's share of the traffic, and the posterior of what it earns, all on one axis."""
    axis = axis_of(arms, _AXIS)
    rows = [
        {
            "name": arm.get("name"),
            "share": _share(arm.get("weight")),
            "value": "" if axis is None else density(arm, axis),
            "P(best)": arm.get("best_probability"),
        }
        for arm in arms
    ]
    print_table(("name", "share", "value", "P(best)"), rows)
    if axis is not None:
        least, most = (f"${end * _PER_MILLION:.4g}" for end in (axis.low, axis.high))
        sys.stdout.write(f"value: where it probably is, from {least} to {most} per million predictions\n\n")


def _share(weight: object) -> str:
    return f"{bar(weight, _BAR):<{_BAR}} {weight:6.1%}" if is_number(weight) else "-"


def print_shadows(shadows: Sequence[Mapping[str, Any]]) -> None:
    """Show what became of copies, and how far their answers agreed; nothing where nothing is copied."""
    columns = ("shadow", "share", "mirrored", "compared", "agreed", "agreement", "errors", "dropped")
    rows = [
        {
            **shadow,
            "shadow": shadow.get("arm"),
            "errors": sum((shadow.get("errors") or {}).values()),
            "dropped": sum((shadow.get("dropped") or {}).values()),
            "ms p50": (shadow.get("shadow_ms") or {}).get("p50"),
            "answered ms p50": (shadow.get("answered_ms") or {}).get("p50"),
        }
        for shadow in shadows
    ]
    if rows:
        print_table((*columns, "ms p50", "answered ms p50", "cost_usd"), rows)
    for shadow in shadows:
        if shadow.get("waits_for"):
            sys.stdout.write(plain(f"{shadow.get('arm')} gets no copies: {shadow['waits_for']}") + "\n")
