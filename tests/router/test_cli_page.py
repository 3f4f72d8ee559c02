"""The page on the command line is what the commands say of themselves, and every one of them shows an example."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from router.cli import app
from router.commands import GROUP
from tests.repo.tree import ROOT

PAGE = Path(ROOT) / "docs" / "reference" / "cli.md"


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its whole name; those of our entry points are described by their first line."""
    root: Any = typer.main.get_command(app)
    context = typer.Context(root, info_name="turpin")
    project = tomllib.loads((Path(ROOT) / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    # Whatever else is installed here may bring commands too.
    foreign = set(root.list_commands(context)) - set(root.commands) - set(project["entry-points"][GROUP])
    for name in root.list_commands(context):
        if name in foreign:
            continue
        command = root.get_command(context, name)
        inner = getattr(command, "commands", None)
        if inner is None:
            yield name, command
            continue
        for verb, one in inner.items():
            yield f"{name} {verb}", one


def table() -> str:
    lines = ["| command | what it does |", "|---|---|"]
    for name, command in commands():
        told = (command.help or "").split("\n")[0].replace("|", "\\|")
        lines.append(f"| `turpin {name}` | {told} |")
    return "\n".join(lines)


def test_page_lists_every_command_in_its_own_words() -> None:
    assert table() in PAGE.read_text(encoding="utf-8"), f"write this into cli.md:\n\n{table()}\n"


OURS = [(name, command) for name, command in commands() if type(command).__name__ != "_Later"]


@pytest.mark.parametrize(("name", "command"), OURS, ids=[name for name, _ in OURS])
def test_help_shows_an_example_of_this_command(name: str, command: Any) -> None:
    example = command.epilog or ""

    assert example.startswith(f"Example: turpin {name}")
    # What it names exists.
    known = {option for one in command.params for option in one.opts}
    assert set(re.findall(r"(?<!\S)--?[a-z]+", example)) <= known


def test_exit_codes_are_told() -> None:
    text = PAGE.read_text(encoding="utf-8")

    assert all(line in text for line in ("| 0 |", "| 1 |", "| 2 |"))
