"""The page on the command line is what the commands say of themselves, and every one of them shows an example."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from router.cli import app
from router.commands import GROUP, command_of
from tests.repo.tree import ROOT

PAGE = Path(ROOT) / "docs" / "reference" / "cli.md"


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its whole name, those of our entry points too."""
    root: Any = typer.main.get_command(app)
    context = typer.Context(root, info_name="turpin")
    project = tomllib.loads((Path(ROOT) / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    # Whatever else is installed here may bring commands too.
    foreign = set(root.list_commands(context)) - set(root.commands) - set(project["entry-points"][GROUP])
    for name in root.list_commands(context):
        if name in foreign:
            continue
        command = command_of(root.get_command(context, name))
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


ALL = list(commands())
# They read nothing: they run until they are ended, or do one thing.
SILENT = {"serve", "model-server", "store accept"}

each_command = pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])


@each_command
def test_help_shows_an_example_of_this_command(name: str, command: Any) -> None:
    example = command.epilog or ""

    assert example.startswith(f"Example: turpin {name}")
    # What it names exists.
    known = {option for one in command.params for option in one.opts}
    assert set(re.findall(r"(?<!\S)--?[a-z_-]+", example)) <= known
    for file in re.findall(r"load/\S+", example):
        assert (Path(ROOT) / file).exists()


@each_command
def test_what_it_says_can_be_read_by_programs(name: str, command: Any) -> None:
    options = {option for one in command.params for option in one.opts}

    assert ("--json" in options) == (name not in SILENT)


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("turpin exp", {"experiments"}),
        ("turpin experiments rep", {"report"}),
        ("turpin top --on", {"--once"}),
        # Of another package, loaded when it is asked for.
        ("turpin demo --sc", {"--scenario"}),
        ("turpin model-server --model_b", {"--model_base_path"}),
    ],
)
def test_shells_complete_commands_and_options(words: str, completed: set[str]) -> None:
    environ = {"_TURPIN_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = subprocess.run(
        [Path(sys.executable).with_name("turpin")], env=os.environ | environ, capture_output=True, text=True, timeout=30
    )

    assert set(done.stdout.split()) == completed, done


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_for_the_shell_is_to_be_had(shell: str) -> None:
    environ = {"_TURPIN_COMPLETE": f"source_{shell}"}
    done = subprocess.run(
        [Path(sys.executable).with_name("turpin")], env=os.environ | environ, capture_output=True, text=True, timeout=30
    )

    assert "_TURPIN_COMPLETE" in done.stdout


def test_exit_codes_are_told() -> None:
    text = PAGE.read_text(encoding="utf-8")

    assert all(line in text for line in ("| 0 |", "| 1 |", "| 2 |"))
