"""The command `turpin`. Human words go to stderr, data to stdout; exit 0 well, 1 failed, 2 bad input.

What a command needs is imported when it runs, so that `turpin --version` answers at once.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from router import arithmetic_commands, commands, experiments_command, prices_command, store_command
from router.admin_call import plain
from router.deploy.command import deploy, rollback
from router.guard import PACKAGES
from router.json_text import json_text
from router.replay.command import replay
from router.sending import command as rewards_command
from router.top.command import top
from router.version import installed_version
from serving.signals import ended_at_once

if TYPE_CHECKING:
    from router.config import Config

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_BAD_INPUT: Final = 2

app = typer.Typer(
    cls=commands.Commands,
    name="turpin",
    help="A bandit traffic router for TensorFlow Serving.",
    no_args_is_help=True,
    # Its tracebacks show the values of variables, secrets among them.
    pretty_exceptions_enable=False,
)
app.add_typer(experiments_command.app, name="experiments")
app.add_typer(experiments_command.arms_app, name="arms")
app.add_typer(prices_command.app, name="prices")
app.add_typer(rewards_command.app, name="rewards")
app.add_typer(store_command.app, name="store")
app.command("decide", epilog="Example: turpin decide cases.json --json")(arithmetic_commands.decide)
app.command("evidence", epilog="Example: turpin evidence cases.json --json")(arithmetic_commands.evidence)
app.command("replay", epilog="Example: turpin replay log.jsonl --json")(replay)
app.command("top", epilog="Example: turpin top digits")(top)
app.command("deploy", epilog="Example: turpin deploy digits exported/7 --as v7")(deploy)
app.command("rollback", epilog="Example: turpin rollback digits --to 3")(rollback)

ConfigPath = Annotated[Path, typer.Option("--config", "-c", envvar="TURPIN_CONFIG", help="The configuration file.")]


def _show_version(is_asked: bool) -> None:
    if is_asked:
        sys.stdout.write(f"turpin {installed_version()}\n")
        raise typer.Exit(EXIT_OK)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """A bandit traffic router for TensorFlow Serving."""


@app.command("serve", epilog="Example: turpin serve -c turpin.yaml --workers 2")
def serve_command(
    config: ConfigPath,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Worker processes; overrides `workers` of the file.")
    ] = None,
    single: Annotated[bool, typer.Option("--single", help="Everything in one process, for trying out.")] = False,
) -> None:
    """Run the gateway until SIGTERM or SIGINT."""
    with ended_at_once():
        settings, count = _served(config, workers, is_single=single)
        # Workers are spawned (fork and exec at once): gRPC has nothing to hand over, and would warn that it can't. It
        # reads this when it is imported.
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
        from router.app import serve

        raise typer.Exit(serve(settings, workers=count, is_single=single))


def _served(config: Path, workers: int | None, *, is_single: bool) -> "tuple[Config, int]":
    """Return the configuration and how many workers are wanted; leave the program with what does not fit."""
    _refuse_foreign_packages()
    settings = _load(config)
    count = workers or settings.workers
    if count > 1 and (is_single or settings.store == "memory:"):
        why = "--single" if is_single else "the store memory:, which lives in one process"
        _leave(f"workers must be 1 with {why}; got {count}", EXIT_BAD_INPUT)
    if is_single and settings.front == "envoy":
        _leave("front must be grpc with --single, which has no worker process; got 'envoy'", EXIT_BAD_INPUT)
    # What a backend bears is divided among them.
    return settings.model_copy(update={"workers": count}), count


@app.command("check", epilog="Example: turpin check -c turpin.yaml")
def check_command(
    config: ConfigPath, as_json: Annotated[bool, typer.Option("--json", help="Write JSON instead of YAML.")] = False
) -> None:
    """Check a configuration and write the effective one, defaults included, secrets hidden."""
    settings = _load(config, as_json=as_json)
    for line in settings.unused():
        sys.stderr.write(f"warning: {plain(line)}\n")
    if as_json:
        sys.stdout.write(json_text(settings.printable(), indent=2) + "\n")
        return
    import yaml

    yaml.safe_dump(settings.printable(), sys.stdout, sort_keys=False, allow_unicode=True)


def _load(path: Path, *, as_json: bool = False) -> "Config":
    """Return the configuration; leave the program with all that is wrong with it."""
    from router.config import load_config
    from router.config.document import BadInput, place_text

    try:
        return load_config(path)
    except BadInput as error:
        problems = error.problems
    if as_json:
        listed = [{"place": place_text(problem.place), "message": problem.message} for problem in problems]
        sys.stdout.write(json_text({"problems": listed}, indent=2) + "\n")
    for problem in problems:
        sys.stderr.write(plain(str(problem)) + "\n")
    raise typer.Exit(EXIT_BAD_INPUT)


def _refuse_foreign_packages() -> None:
    from router.guard import overwritten_by

    for package, names in overwritten_by().items():
        reason = f"the package '{package}' of turpin was overwritten by {', '.join(names)}"
        _leave(f"{reason}: install turpin again, in an environment of its own", EXIT_BAD_INPUT)


def _leave(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"turpin: {message}\n")
    raise typer.Exit(code)


def main() -> None:
    """Run the command line: the console script."""
    try:
        app()
    except ModuleNotFoundError as error:
        # A command imported what it needs only when it ran; a module of ours that is missing is our fault.
        if str(error.name).partition(".")[0] in PACKAGES:
            raise
        command = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")
        commands.missing(command, error)
        sys.exit(EXIT_FAILED)
