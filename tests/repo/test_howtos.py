"""The pages that tell how to begin hold configurations and experiments that load, and all pages stand in the index."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from router.config import load_config
from router.config.document import validate
from router.config.experiment import Experiment
from tests.repo.tree import ROOT

DOCS = Path(ROOT) / "docs"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / "how-to" / page).read_text(encoding="utf-8"), re.DOTALL)


def test_configuration_before_an_existing_server_loads_with_its_experiment(tmp_path: Path) -> None:
    config, experiment = blocks("existing-tf-serving.md", "yaml")
    (tmp_path / "turpin.yaml").write_text(config)
    (tmp_path / "digits.yaml").write_text(experiment)

    loaded = load_config(tmp_path / "turpin.yaml", {})

    assert loaded.unused() == ()
    assert [one.mode for one in loaded.experiments] == ["observe"]
    # What is done last: the line is taken out.
    assert validate(Experiment, yaml.safe_load(re.sub(r"mode: .*\n", "", experiment))).mode == "experiment"


def test_configuration_of_two_clouds_loads(tmp_path: Path) -> None:
    (config,), (prices,) = blocks("two-clouds.md", "yaml"), blocks("two-clouds.md", "json")
    (tmp_path / "turpin.yaml").write_text(config)

    loaded = load_config(tmp_path / "turpin.yaml", {})

    assert loaded.unused() == ()
    assert {arm.reward_group for arm in loaded.experiments[0].arms} == {"v41"}
    keys = {backend["price_usd_per_hour"]["key"] for backend in yaml.safe_load(config)["backends"].values()}
    assert keys == set(json.loads(prices))


def merged(page: str) -> dict[str, Any]:
    """Put the pieces of an experiment on a page together."""
    found: dict[str, Any] = {}
    for block in blocks(page, "yaml"):
        for key, value in yaml.safe_load(block).items():
            found[key] = {**found.get(key, {}), **value} if isinstance(value, dict) else value
    return found


def test_pieces_of_an_experiment_make_one() -> None:
    written = merged("write-an-experiment.md")
    text = (DOCS / "how-to" / "write-an-experiment.md").read_text(encoding="utf-8")
    (guardrails,) = re.findall(r"`(guardrails: .*)`\.", text)

    loaded = validate(Experiment, {"name": "ranker", "model": "ranker", **written, **yaml.safe_load(guardrails)})

    assert [arm.name for arm in loaded.arms] == ["v41", "v42"]
    assert len(loaded.guardrails) == 2


def test_objective_of_late_rewards_is_one() -> None:
    arms = [{"name": f"v{number}", "backend": "a", "version": number} for number in (1, 2)]
    spec = {"name": "x", "model": "x", "control": "v1", "arms": arms, **merged("late-rewards.md")}

    assert validate(Experiment, spec).objective.reward.feedback == "conversions"


def test_every_page_stands_in_the_index() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    pages = [
        page.relative_to(DOCS).as_posix()
        for folder in ("how-to", "reference", "explanation")
        for page in sorted((DOCS / folder).glob("*"))
        if page.suffix in (".md", ".json")
    ]

    assert [page for page in pages if f"]({page})" not in index] == []
