"""`turpin deploy` and `turpin rollback`: a SavedModel becomes an arm, an experiment goes back to what it was.

Importing this module must stay cheap: every command of `turpin` does.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

if TYPE_CHECKING:
    from turpin.deployment import OnProgress, Progress

EXIT_FAILED: Final = 1
EXIT_BAD_INPUT: Final = 2

Model = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name on its server.", show_default=False)]
Name = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="The experiment.", show_default=False)]
Folder = Annotated[Path, typer.Argument(metavar="PATH", help="The folder of a SavedModel.", show_default=False)]
ArmName = Annotated[str, typer.Option("--as", help="The new arm's name; the number at its end is its version.")]
Version = Annotated[int | None, typer.Option("--version", min=1, help="Its version, if the name ends with none.")]
Experiment = Annotated[str | None, typer.Option("--experiment", help="Which one, if the model has several.")]
Backend = Annotated[str | None, typer.Option("--backend", help="Where to, if several publish the model.")]
Timeout = Annotated[float, typer.Option("--timeout", min=1.0, help="Seconds to wait; it goes on without us.")]
To = Annotated[int | None, typer.Option("--to", min=1, metavar="REVISION", help="An earlier revision; else control.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the audit.")]
AdminUrl = Annotated[str, typer.Option("--admin", envvar="TURPIN_ADMIN", help="URL of the gateway's admin port.")]
Token = Annotated[str, typer.Option("--token", envvar="TURPIN_TOKEN", help="Bearer token.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]
_ADMIN: Final = "http://127.0.0.1:8502"


def deploy(
    model: Model,
    path: Folder,
    arm: ArmName,
    version: Version = None,
    experiment: Experiment = None,
    backend: Backend = None,
    timeout_s: Timeout = 900.0,
    admin: AdminUrl = _ADMIN,
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Upload a SavedModel, have it loaded, checked and warmed, and add it to an experiment as an arm."""
    from turpin.client import Client

    with _refusals(), _shown() as progress:
        deployed = Client(admin, token=token or None).deploy(
            model,
            path,
            as_=arm,
            version=version,
            experiment=experiment,
            backend=backend,
            progress=progress,
            timeout_s=timeout_s,
        )
    if as_json:
        _write_json(deployed.document)
    else:
        sys.stdout.write(_plain(f"{arm} is version {deployed.version} of {model}, {deployed.digest}\n"))


def rollback(
    experiment: Name,
    to: To = None,
    reason: Reason = "",
    admin: AdminUrl = _ADMIN,
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Return an experiment to an earlier revision, or to control: load and warm, move the traffic, then unload."""
    from turpin.client import Client

    with _refusals():
        answer = Client(admin, token=token or None).rollback(experiment, to=to, reason=reason)
    if as_json:
        _write_json(answer)
        return
    sys.stdout.write(_plain(f"{experiment}: {answer.get('phase')}, {answer.get('reason') or 'rolled back'}") + "\n")
    for arm in answer.get("arms") or ():
        sys.stdout.write(_plain(f"  {arm.get('name')}: {arm.get('state')}") + "\n")


@contextmanager
def _refusals() -> Iterator[None]:
    """Leave the program with what went wrong: 2 for what was given, 1 for what could not be done."""
    from turpin.errors import BadRequest, Invalid, TooLarge, TurpinError

    try:
        yield
    except (BadRequest, Invalid, TooLarge) as error:
        _leave(_words(error.detail, error.errors), EXIT_BAD_INPUT)
    except TurpinError as error:
        _leave(_words(error.detail, error.errors), EXIT_FAILED)
    except ValueError as error:  # A folder, a package, a name or a URL that will not do.
        _leave(str(error), EXIT_BAD_INPUT)
    except OSError as error:
        _leave(f"can't read {error.filename}: {error.strerror}", EXIT_BAD_INPUT)


def _words(detail: str, errors: tuple[Mapping[str, Any], ...]) -> str:
    listed = [f"{one.get('field')}: {one.get('message')}" for one in errors]
    return "; ".join(listed) if listed else detail


@contextmanager
def _shown() -> Iterator["OnProgress"]:
    """Yield what shows progress: a bar on a terminal, else a line for each step, on stderr."""
    if sys.stderr.isatty():
        yield from _bar()
        return
    seen: list[str] = []

    def line(step: "Progress") -> None:
        if step.step not in seen:
            seen.append(step.step)
            sys.stderr.write(f"{step.number}/{step.of} {_plain(step.step)}\n")

    yield line


def _bar() -> Iterator["OnProgress"]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[detail]}"), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("deploy", total=1.0, detail="")

        def show(step: "Progress") -> None:
            # The steps after the upload take their share as they end: none says how long it will take.
            share = (max(0, step.number - 1) + step.share) / step.of
            bar.update(task, completed=share, description=escape(_plain(step.step)), detail=escape(_plain(step.detail)))

        yield show


def _leave(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"turpin: {_plain(message)}\n")
    raise typer.Exit(code)


def _write_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _plain(text: str) -> str:
    """Return the text without what a terminal would obey."""
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)
