"""`turpin deploy` and `turpin rollback`: a SavedModel becomes an arm, an experiment goes back to what it was.

Importing this module must stay cheap: every command of `turpin` does.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router.admin_call import ADMIN, EXIT_BAD_INPUT, EXIT_FAILED, leave, plain
from router.experiments_command import AdminUrl, AsJson, Token, Why
from router.experiments_shown import write_json

if TYPE_CHECKING:
    from turpin.deployment import OnProgress, Progress

Model = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name on its server.", show_default=False)]
Name = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="The experiment.", show_default=False)]
Folder = Annotated[Path, typer.Argument(metavar="PATH", help="The folder of a SavedModel.", show_default=False)]
ArmName = Annotated[str, typer.Option("--as", help="The new arm's name; the number at its end is its version.")]
Version = Annotated[int | None, typer.Option("--version", min=1, help="Its version, if the name ends with none.")]
Experiment = Annotated[str | None, typer.Option("--experiment", help="Which one, if the model has several.")]
Backend = Annotated[str | None, typer.Option("--backend", help="Where to, if several publish the model.")]
Shadow = Annotated[
    int | None, typer.Option("--shadow", min=1, metavar="N", help="First compare it on N live requests.")
]
Agreement = Annotated[
    float | None, typer.Option("--min-agreement", min=0, max=1, help="Join only if its answers agree so far (0 to 1).")
]
Timeout = Annotated[float, typer.Option("--timeout", min=1.0, help="Seconds to wait; it goes on without us.")]
To = Annotated[int | None, typer.Option("--to", min=1, metavar="REVISION", help="An earlier revision; else control.")]


def deploy(
    model: Model,
    path: Folder,
    arm: ArmName,
    version: Version = None,
    experiment: Experiment = None,
    backend: Backend = None,
    shadow: Shadow = None,
    min_agreement: Agreement = None,
    timeout_s: Timeout = 900.0,
    admin: AdminUrl = ADMIN,
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Upload a SavedModel, have it loaded, checked and warmed, and add it to an experiment as an arm."""
    from turpin.client import Client
    from turpin.deployment import compared_words

    comparison: dict[str, Any] | None = None
    if shadow is not None:
        comparison = {"requests": shadow} | ({} if min_agreement is None else {"min_agreement": min_agreement})
    elif min_agreement is not None:
        leave("--min-agreement wants --shadow N: how many live requests to compare", EXIT_BAD_INPUT)
    with _refusals(), _shown() as progress:
        deployed = Client(admin, token=token or None).deploy(
            model,
            path,
            as_=arm,
            version=version,
            experiment=experiment,
            backend=backend,
            shadow=comparison,
            progress=progress,
            timeout_s=timeout_s,
        )
    if as_json:
        write_json(deployed.document)
    else:
        sys.stdout.write(plain(f"{arm} is version {deployed.version} of {model}, {deployed.digest}") + "\n")
        if deployed.comparison is not None:
            sys.stdout.write(plain(compared_words(deployed.comparison)) + "\n")


def rollback(
    experiment: Name,
    to: To = None,
    reason: Why = "",
    admin: AdminUrl = ADMIN,
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Return an experiment to an earlier revision, or to control: load and warm, move the traffic, then unload."""
    from turpin.client import Client

    with _refusals():
        answer = Client(admin, token=token or None).rollback(experiment, to=to, reason=reason)
    if as_json:
        write_json(answer)
        return
    sys.stdout.write(plain(f"{experiment}: {answer.get('phase')}, {answer.get('reason') or 'rolled back'}") + "\n")
    for arm in answer.get("arms") or ():
        sys.stdout.write(plain(f"  {arm.get('name')}: {arm.get('state')}") + "\n")


@contextmanager
def _refusals() -> Iterator[None]:
    """Leave the program with what went wrong: 2 for what was given, 1 for what could not be done."""
    from turpin.errors import BadRequest, Invalid, TooLarge, TurpinError

    try:
        yield
    except (BadRequest, Invalid, TooLarge) as error:
        leave(_words(error.detail, error.errors), EXIT_BAD_INPUT)
    except TurpinError as error:
        leave(_words(error.detail, error.errors), EXIT_FAILED)
    except ValueError as error:  # A folder, a package, a name or a URL that will not do.
        leave(str(error), EXIT_BAD_INPUT)
    except OSError as error:
        leave(f"can't read {error.filename}: {error.strerror}", EXIT_BAD_INPUT)


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
            sys.stderr.write(f"{step.number}/{step.of} {plain(step.step)}\n")

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
            bar.update(task, completed=share, description=escape(plain(step.step)), detail=escape(plain(step.detail)))

        yield show
