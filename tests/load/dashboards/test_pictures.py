"""The pictures show what Prometheus answered: named as Grafana would, with units, no two lines of a panel alike."""

import math
from pathlib import Path
from typing import Any

import pytest

from load.dashboards.__main__ import ALL
from load.dashboards.panel import Dashboard, Panel, Query
from load.dashboards.pictures.__main__ import STORIES, names
from load.dashboards.pictures.drawing import COLOURS, Colours, draw, legend_rows, stacked
from load.dashboards.pictures.seen import Line, Seen, asked, empty, lines, named
from load.dashboards.pictures.units import written
from tests.repo.tree import ROOT

QUERY = Query(
    'sum(rate(turpin_requests_total{experiment=~"$experiment"}[$__rate_interval]))', "{{backend}} {{model}} sent"
)


def test_query_is_what_somebody_asks_who_looks_at_all() -> None:
    assert asked(QUERY, "4s") == 'sum(rate(turpin_requests_total{experiment=~".*"}[4s]))'


def test_series_are_named_by_their_labels() -> None:
    assert named(QUERY, {"backend": "tfs-a", "model": "digits", "le": "1"}) == "tfs-a digits sent"
    assert named(QUERY, {}) == "  sent"


def test_answer_becomes_lines_without_what_is_no_number() -> None:
    result: list[dict[str, Any]] = [
        {"metric": {"backend": "b", "model": "m"}, "values": [[105, "1"], [106, "NaN"], [107, "+Inf"], [108, "2.5"]]},
        {"metric": {"backend": "a", "model": "m"}, "values": [[105, "0"]]},
        {"metric": {"backend": "c", "model": "m"}, "values": [[105, "NaN"]]},
    ]

    assert lines(QUERY, result, 100.0) == [
        Line("a m sent", [(5.0, 0.0)]),
        Line("b m sent", [(5.0, 1.0), (8.0, 2.5)]),
    ]


def test_panels_without_anything_are_named() -> None:
    panels = (Panel("One", "It is one.", [QUERY]), Panel("Two", "It is two.", [QUERY, QUERY]))
    seen = Seen("", 10.0, [[[]], [[], [Line("a", [(0.0, 0.0)])]]])

    assert empty(Dashboard("d", "D", "What?", panels), seen) == ["One"]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "s", "0 s"),
        (0.0123, "s", "12.3 ms"),
        (0.0009, "s", "900 µs"),
        (90.0, "s", "1.5 min"),
        (0.5, "percentunit", "50 %"),
        (-1.5, "currencyUSD", "-$1.5"),
        (1234.0, "currencyUSD", "$1.23K"),
        (3 * 2.0**20, "bytes", "3 MiB"),
        (12.0, "bytes", "12 B"),
        (1500.0, "reqps", "1.5K/s"),
        (2.0e6, "short", "2M"),
        (1e-9, "s", "0.001 µs"),
        (12345.0, "percentunit", "1,234,500 %"),
    ],
)
def test_values_have_their_units(value: float, unit: str, text: str) -> None:
    assert written(value, unit) == text


def test_name_keeps_its_colour_and_no_two_in_a_panel_are_alike() -> None:
    colours = Colours()

    first = colours.of(["v1", "v2"])
    other = colours.of(["busy", "idle", "v2"])
    many = colours.of([f"x{number}" for number in range(len(COLOURS))])

    assert other["v2"] == first["v2"]
    assert len(set(other.values())) == 3
    assert len(set(many.values())) == len(COLOURS)


def test_stack_adds_up_what_is_there() -> None:
    found = [Line("a", [(0.0, 1.0), (1.0, 3.0)]), Line("b", [(1.0, 1.0), (2.0, 4.0)])]

    times, rows = stacked(found, is_share=False)
    _, parts = stacked(found, is_share=True)

    assert times.tolist() == [0.0, 1.0, 2.0]
    assert rows.tolist() == [[1.0, 3.0, 0.0], [0.0, 1.0, 4.0]]
    assert parts.sum(axis=0).tolist() == [1.0, 1.0, 1.0]
    assert parts[0].tolist() == [1.0, 0.75, 0.0]


def test_legend_has_two_rows_and_counts_the_rest() -> None:
    rows = list(legend_rows(["a" * 30] * 2 + [f"{letter * 30}" for letter in "bcdefg"], 8))

    assert [row[0][0] for row in rows] == ["a", "c"]
    assert rows[-1][-1] == "and 3 more"


def synthetic(dashboard: Dashboard) -> Seen:
    """What some arms might do over 20 s, in each panel."""

    def line(name: str, size: float) -> Line:
        return Line(name, [(float(at), size * (1.0 + math.sin(at))) for at in range(21)])

    panels = [[[line(f"v{n}", 0.1 * n) for n in (1, 2, 3)] for _ in panel.queries] for panel in dashboard.panels]
    return Seen("a story.", 20.0, panels)


@pytest.mark.parametrize("dashboard", ALL, ids=lambda dashboard: dashboard.uid)
def test_dashboard_is_drawn_with_and_without_anything_to_show(dashboard: Dashboard, tmp_path: Path) -> None:
    draw(dashboard, synthetic(dashboard), tmp_path / "full.png")
    draw(dashboard, Seen("", 1.0, [[[] for _ in panel.queries] for panel in dashboard.panels]), tmp_path / "empty.png")

    full, nothing = ((tmp_path / name).read_bytes() for name in ("full.png", "empty.png"))
    assert full.startswith(b"\x89PNG")
    assert len(full) > 1.5 * len(nothing)


def test_docs_hold_a_picture_of_each_dashboard_and_no_other() -> None:
    assert sorted(names()) == sorted(f"{dashboard.uid}.png" for dashboard in ALL)
    assert sorted(file.name for file in (Path(ROOT) / "docs/dashboards").iterdir()) == sorted(names())
    assert {story.scenario for story in STORIES} <= {"main", "price"}
