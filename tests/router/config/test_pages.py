"""The pages on settings hold every setting with its default, and no other; that on metrics every metric."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from router.config import Config
from router.config.experiment import Experiment
from router.metrics import TABLE
from tests.repo.tree import ROOT
from tests.router.config.settings import settings

REFERENCE = Path(ROOT) / "docs" / "reference"


def rows(page: str) -> list[tuple[str, ...]]:
    """Return the cells of each row that begins with something in code."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    found = re.findall(r"^\| (`.*) \|$", text, re.MULTILINE)
    return [tuple(cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)) for row in found]


def written(found: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return settings as the page has them: the certificates of all ports are one."""
    return {re.sub(r"^tls\.\w+", "tls.*", place): default for place, default in found}


def of_gateway() -> dict[str, str]:
    return written((place, default) for place, default in settings(Config) if not place.startswith("experiments[]."))


def of_experiment() -> dict[str, str]:
    return written(settings(Experiment))


@pytest.mark.parametrize(
    ("page", "wanted"),
    [("configuration.md", of_gateway()), ("experiment.md", of_experiment())],
    ids=["gateway", "experiment"],
)
def test_page_holds_every_setting_with_its_default(page: str, wanted: dict[str, str]) -> None:
    found = {place.strip("`"): default.strip("`") for place, default, _ in rows(page)}

    assert found == wanted
    assert len(rows(page)) == len(wanted)
    assert all(what for _, _, what in rows(page))


def test_page_holds_every_metric_with_its_kind_and_labels() -> None:
    found = {name.strip("`"): (kind, labels.replace("`", "")) for name, kind, labels, _ in rows("metrics.md")}

    assert found == {name: (one.kind, ", ".join(one.labels)) for name, one in TABLE.items()}


def test_page_says_of_metrics_what_the_scrape_says() -> None:
    texts = {name.strip("`"): text for name, _, _, text in rows("metrics.md")}

    assert {name: text for name, text in texts.items() if not text.startswith(TABLE[name].help)} == {}
