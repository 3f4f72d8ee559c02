"""Commands that other packages bring to `turpin`, found by entry point and loaded only when they are called.

So the command line starts fast, and works without what a command needs (TensorFlow, for the demo).
"""

import ast
import importlib.metadata
import importlib.util
import sys
from pathlib import Path
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

GROUP: Final = "turpin.commands"
EXIT_FAILED: Final = 1


def missing(command: str, error: ImportError) -> None:
    """Say what a command lacks, and how to get it."""
    lacks = error.name or str(error)
    sys.stderr.write(f'turpin {command} needs {lacks}, which is not installed: pip install "turpin[local]"\n')


class Commands(TyperGroup):
    """Our own commands, and those of the entry points."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return all names, ours first."""
        ours = super().list_commands(ctx)
        return [*ours, *sorted(set(_entry_points()) - set(ours))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return one of our commands, a stand-in for one of an entry point, or None."""
        command = super().get_command(ctx, cmd_name)
        found = None if command else _entry_points().get(cmd_name)
        return _Later(found) if found else command


class _Later(TyperCommand):
    """Stands in for a command until it is called; the list of commands shows its first line."""

    def __init__(self, entry: importlib.metadata.EntryPoint) -> None:
        super().__init__(name=entry.name, help=_first_line(entry))
        self._entry = entry

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Load the command and let it read its own arguments."""
        try:
            command = self.loaded()
        except ImportError as error:
            missing(self._entry.name, error)
            raise typer.Exit(EXIT_FAILED) from error
        return command.make_context(info_name, args, parent, **extra)

    def loaded(self) -> Any:
        """Return the command itself; ImportError for what it lacks."""
        return _command(self._entry.load(), self._entry.name)


def command_of(command: Any) -> Any:
    """Return the command that a stand-in stands for; any other as it is."""
    return command.loaded() if isinstance(command, _Later) else command


def _command(value: Any, name: str) -> Any:
    """Make a command of a plain function, with the `EXAMPLE` of its module; a typer application is taken as it is."""
    if isinstance(value, typer.Typer):
        return typer.main.get_command(value)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    example = getattr(sys.modules.get(value.__module__), "EXAMPLE", None)
    app.command(name, epilog=example)(value)
    return typer.main.get_command(app)


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}


def _first_line(entry: importlib.metadata.EntryPoint) -> str:
    """Return the first line of the function's docstring, else of its module's, read without importing the module."""
    try:
        spec = importlib.util.find_spec(entry.module)
        tree = ast.parse(Path(spec.origin).read_bytes()) if spec and spec.origin else ast.Module([], [])
    except (ImportError, OSError, SyntaxError, ValueError):
        return ""
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == entry.attr]
    doc = (functions and ast.get_docstring(functions[0])) or ast.get_docstring(tree) or ""
    return doc.partition("\n")[0]
