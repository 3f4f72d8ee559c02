"""The dashboards are those that the script makes, each on one screen, and ask for metrics that there are."""

import json
import re
from itertools import combinations
from typing import Any

import pytest
import yaml

from load.dashboards.__main__ import ALL, text
from load.dashboards.panel import COLUMNS, SCREEN_ROWS, Dashboard
from router.metrics import TABLE
from tests.deploy.test_rules import RULES
from tests.repo.tree import ROOT

FOLDER = ROOT / "deploy/grafana/dashboards"
# Names that Prometheus and its client library give, not we.
FOREIGN = {"up", "process_resident_memory_bytes"}
RECORDED = {rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule}

each_dashboard = pytest.mark.parametrize("dashboard", ALL, ids=lambda dashboard: dashboard.uid)


@each_dashboard
def test_committed_file_is_what_the_script_makes(dashboard: Dashboard) -> None:
    file = FOLDER / f"{dashboard.uid}.json"

    assert file.read_text() == text(dashboard), "python -P -m load.dashboards deploy/grafana/dashboards"


def test_nothing_else_lies_there() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == {dashboard.uid for dashboard in ALL}


@each_dashboard
def test_panels_fit_on_one_screen_side_by_side(dashboard: Dashboard) -> None:
    places = [panel["gridPos"] for panel in dashboard.to_json()["panels"]]

    assert dashboard.rows <= SCREEN_ROWS
    assert all(place["x"] + place["w"] <= COLUMNS for place in places)
    assert not [(one, other) for one, other in combinations(places, 2) if _overlap(one, other)]


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(
        one[at] < other[at] + other[size] and other[at] < one[at] + one[size] for at, size in (("x", "w"), ("y", "h"))
    )


@each_dashboard
def test_panels_say_what_to_read_from_them(dashboard: Dashboard) -> None:
    for panel in dashboard.panels:
        assert panel.text.endswith(".")
        assert all(query.legend for query in panel.queries)


def metrics_of(expression: str) -> dict[str, set[str]]:
    """Return the metrics an expression asks for, each with the labels it selects by."""
    found: dict[str, set[str]] = {}
    for name, selector in re.findall(r"\b((?:turpin_|process_|up\b)\w*)(?:\{([^}]*)\})?", expression):
        found.setdefault(name, set()).update(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
    return found


def _expressions() -> list[str]:
    rules: list[dict[str, Any]] = [rule for group in RULES["groups"] for rule in group["rules"]]
    return [query.expression for one in ALL for panel in one.panels for query in panel.queries] + [
        rule["expr"] for rule in rules
    ]


@pytest.mark.parametrize("expression", _expressions())
def test_what_is_asked_for_exists_with_its_labels(expression: str) -> None:
    # Names of recording rules hold ours.
    plain = re.sub(r"\b(?:\w+:turpin_|turpin:)[\w:]+", "", expression)

    assert set(re.findall(r"\b(?:\w+:turpin_|turpin:)[\w:]+", expression)) <= RECORDED
    for name, labels in metrics_of(plain).items():
        if name not in FOREIGN:
            declared = TABLE[re.sub(r"_(bucket|sum|count)$", "", name)]
            assert labels <= {*declared.labels, "instance", "job"}, name


def test_grafana_looks_for_the_source_that_is_set_up() -> None:
    (source,) = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    found = {
        target["datasource"]["uid"]
        for file in FOLDER.iterdir()
        for panel in json.loads(file.read_text())["panels"]
        for target in panel["targets"]
    }

    assert found == {source["uid"]}
