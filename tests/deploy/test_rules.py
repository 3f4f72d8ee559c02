"""The rules of Prometheus ring when they should, every alert has a page, and promtool has nothing against any of it."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from router.aggregate import Aggregate, render
from router.metrics import TABLE, Metrics, snapshot
from tests.prometheus import DEPLOY, promtool
from tests.repo.tree import ROOT

RULES: dict[str, Any] = yaml.safe_load((DEPLOY / "rules/turpin.yml").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
EXAMPLES = ROOT / "tests/deploy/rules_test.yml"


def test_promtool_takes_configuration_and_rules(tmp_path: Path) -> None:
    found = promtool("check", "config", DEPLOY / "prometheus.yml")
    shutil.copytree(DEPLOY, tmp_path / "prometheus")
    bad = tmp_path / "prometheus/rules/turpin.yml"
    bad.write_text(bad.read_text().replace("histogram_quantile(0.99,", "histogram_quantile("))

    assert found.returncode == 0, found.stderr
    assert "FAILED" not in found.stdout + found.stderr
    assert promtool("check", "config", tmp_path / "prometheus/prometheus.yml").returncode != 0


def test_alerts_ring_when_they_should_and_not_otherwise() -> None:
    found = promtool("test", "rules", EXAMPLES)

    assert found.returncode == 0, found.stdout + found.stderr


def test_each_alert_has_an_example_that_rings_and_one_that_does_not() -> None:
    well, ill = yaml.safe_load(EXAMPLES.read_text())["tests"]
    names = {rule["alert"] for rule in ALERTS}

    assert {case["alertname"] for case in well["alert_rule_test"] if "exp_alerts" not in case} == names
    assert {case["alertname"] for case in ill["alert_rule_test"] if case["exp_alerts"]} == names


def test_each_alert_has_its_section_which_says_how_urgent_it_is() -> None:
    page = (ROOT / "docs/how-to/alerts.md").read_text()
    sections = dict(re.findall(r"^## (Turpin\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))

    assert set(sections) == {rule["alert"] for rule in ALERTS}
    for rule in ALERTS:
        assert f"*{rule['labels']['severity']}*" in sections[rule["alert"]], rule["alert"]


def _scrape() -> str:
    """Return a scrape in which every metric of the table has a series."""
    metrics = Metrics()
    for name, declared in TABLE.items():
        attribute = next(
            one for one in vars(metrics).values() if getattr(one, "_name", "") in (name, name.removesuffix("_total"))
        )
        series = attribute.labels(*("x" for _ in declared.labels)) if declared.labels else attribute
        change = {"counter": "inc", "gauge": "set", "histogram": "observe"}[declared.kind]
        getattr(series, change)(1)
    aggregate = Aggregate()
    aggregate.update("one", snapshot(metrics.registry))
    return render(aggregate, "text/plain")[0].decode()


def test_promtool_has_nothing_against_any_metric() -> None:
    text = _scrape()

    assert {name for name in TABLE if f"# TYPE {name} " not in text} == set()
    found = promtool("check", "metrics", stdin=text)
    assert (found.returncode, found.stdout + found.stderr) == (0, "")
    # It would notice.
    assert promtool("check", "metrics", stdin="turpin_x_total 1\n").returncode != 0


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_alert_says_what_it_saw(rule: dict[str, Any]) -> None:
    assert "{{" in rule["annotations"]["summary"] or rule["alert"] == "TurpinNoRewards"
