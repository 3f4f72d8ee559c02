"""What README and the other pages say must be so: their configuration loads, their commands and links exist."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from router.cli import app
from router.config import load_config

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_first_configuration_loads_and_is_a_dozen_lines(tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    (tmp_path / "turpin.yaml").write_text(text)

    config = load_config(tmp_path / "turpin.yaml", {})

    assert [arm.name for arm in config.experiments[0].arms] == ["v1", "v2"]
    assert len(text.splitlines()) <= 13


def test_nothing_is_left_to_be_filled_in() -> None:
    assert not re.findall(r"\b[A-Z]+_[A-Z]+\b", re.sub(r"TURPIN_[A-Z_]+", "", README))


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    named = {target for block in blocks("sh") for target in re.findall(r"^make ([a-z]+)", block, re.MULTILINE)}

    assert named == {"demo", "test"} <= targets


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^turpin ([a-z-]+(?: show)?)", README, re.MULTILINE))))
def test_commands_exist(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"])

    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()) if "://" not in link]

    missing = [link for link in links if not (page.parent / link).exists()]

    assert not missing
