"""What a dashboard's queries showed over a run: series by panel and query, and how they are named."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from load.dashboards.panel import Dashboard, Query

_LABEL: Final = re.compile(r"\{\{(\w+)\}\}")


class Line(msgspec.Struct, frozen=True):
    """One series: its name in the legend, and its points as (seconds since the run began, value)."""

    name: str
    points: list[tuple[float, float]]


class Seen(msgspec.Struct, frozen=True):
    """A run: its story, how many seconds it took, and the series of each panel's queries, in order."""

    story: str
    seconds: float
    panels: list[list[list[Line]]]


def asked(query: Query, interval: str) -> str:
    """Return what Prometheus is asked: with Grafana's variables as a person who looks at all experiments has them."""
    return query.expression.replace("$__rate_interval", interval).replace("$experiment", ".*")


def named(query: Query, labels: Mapping[str, str]) -> str:
    """Return the name of a series in the legend."""
    return _LABEL.sub(lambda found: labels.get(found[1], ""), query.legend)


def lines(query: Query, result: list[dict[str, Any]], began: float) -> list[Line]:
    """Return the series of an answer of Prometheus (a matrix), by name; what is no number is left out."""
    found = []
    for series in result:
        points = [(float(at) - began, float(value)) for at, value in series["values"]]
        finite = [(at, value) for at, value in points if value - value == 0.0]
        if finite:
            found.append(Line(named(query, series["metric"]), finite))
    return sorted(found, key=lambda line: line.name)


def empty(dashboard: Dashboard, seen: Seen) -> list[str]:
    """Return the titles of the panels that show nothing."""
    return [
        panel.title
        for panel, queries in zip(dashboard.panels, seen.panels, strict=True)
        if not any(line.points for found in queries for line in found)
    ]
