"""Panels and dashboards as values, and the JSON that Grafana reads of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

# Grafana's grid has 24 columns; a row of 36 units fills a screen of 1080 lines.
COLUMNS: Final = 24
SCREEN_ROWS: Final = 36
DATASOURCE: Final = {"type": "prometheus", "uid": "prometheus"}
# What Grafana's variables stand for when a query is asked of Prometheus itself.
RATE_INTERVAL: Final = "$__rate_interval"
EXPERIMENT: Final = 'experiment=~"$experiment"'
# The schema of Grafana 11 and 12.
_SCHEMA_VERSION: Final = 39


@dataclass(frozen=True, slots=True)
class Query:
    """What Prometheus is asked, and how its series are named: `{{arm}}` is a label's value."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture. `unit` is Grafana's id of it; `text` says what to read from it; `stack` fills areas up to a sum."""

    title: str
    text: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: Literal["timeseries", "stat"] = "timeseries"
    width: int = 8
    height: int = 8
    stack: Literal["none", "normal", "percent"] = "none"
    names: bool = False  # a stat that shows the names of its series, not their values
    log: bool = False
    signed: bool = False  # values below zero are shown
    maximum: float | None = None

    def __post_init__(self) -> None:
        """Refuse what would not fit the grid."""
        if not 1 <= self.width <= COLUMNS or not self.queries or self.height < 1:
            raise ValueError(f"{self.title}: width must be in 1..{COLUMNS} and there must be a query, got {self}")


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A question, and the panels that answer it on one screen, in reading order."""

    uid: str
    title: str
    question: str
    panels: Sequence[Panel]
    by_experiment: bool = True

    @property
    def rows(self) -> int:
        """How many units of the grid it is high."""
        return max(place["y"] + place["h"] for place in _places(self.panels))

    def to_json(self) -> dict[str, Any]:
        """Return what Grafana reads."""
        experiment = {
            "name": "experiment",
            "type": "query",
            "datasource": DATASOURCE,
            "query": {"query": "label_values(turpin_experiment_phase, experiment)", "refId": "experiment"},
            "includeAll": True,
            "allValue": ".*",
            "multi": False,
            "refresh": 2,
            "sort": 1,
            "current": {"text": "All", "value": "$__all"},
        }
        places = _places(self.panels)
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.question,
            "tags": ["turpin"],
            "schemaVersion": _SCHEMA_VERSION,
            "editable": False,
            "refresh": "10s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser",
            "graphTooltip": 1,
            "templating": {"list": [experiment] if self.by_experiment else []},
            "annotations": {"list": []},
            "panels": [
                _panel(panel, number, place)
                for number, (panel, place) in enumerate(zip(self.panels, places, strict=True), 1)
            ],
        }


def _places(panels: Sequence[Panel]) -> list[dict[str, int]]:
    """Set panels side by side, and begin a line where the next one does not fit; all of a line start at its top."""
    found = []
    x = y = line = 0
    for panel in panels:
        if x + panel.width > COLUMNS:
            x, y, line = 0, y + line, 0
        found.append({"x": x, "y": y, "w": panel.width, "h": panel.height})
        x, line = x + panel.width, max(line, panel.height)
    return found


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    targets: list[dict[str, Any]] = [
        {
            "refId": chr(ord("A") + position),
            "datasource": DATASOURCE,
            "expr": query.expression,
            "legendFormat": query.legend,
            # Names are those of now: a phase that is over must not stand beside the present one.
            "instant": panel.names,
        }
        for position, query in enumerate(panel.queries)
    ]
    defaults: dict[str, Any] = {"unit": panel.unit}
    if not panel.signed and not panel.log:
        defaults["min"] = 0
    if panel.maximum is not None:
        defaults["max"] = panel.maximum
    if panel.kind == "timeseries":
        defaults["custom"] = _lines(panel)
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _stat(panel) if panel.kind == "stat" else _LEGEND,
        "targets": targets,
    }


_LEGEND: Final[dict[str, Any]] = {
    "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
    "tooltip": {"mode": "multi", "sort": "desc"},
}


def _stat(panel: Panel) -> dict[str, Any]:
    return {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "name" if panel.names else "value",
        "colorMode": "none",
        "graphMode": "none" if panel.names else "area",
        "justifyMode": "center",
    }


def _lines(panel: Panel) -> dict[str, Any]:
    return {
        "lineWidth": 1,
        "fillOpacity": 0 if panel.stack == "none" else 40,
        "showPoints": "never",
        "spanNulls": True,
        "stacking": {"mode": panel.stack, "group": "A"},
        "scaleDistribution": {"type": "log", "log": 10} if panel.log else {"type": "linear"},
    }
