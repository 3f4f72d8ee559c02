"""`turpin experiments`: what a running gateway says of its experiments, read from its admin API."""

import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Annotated, Any, Final, NoReturn

import typer

EXIT_FAILED: Final = 1
EXIT_BAD_INPUT: Final = 2
# The answer is a few kilobytes from the same machine, mostly; longer than this and nobody is there.
_TIMEOUT_S: Final = 10.0
_ADMIN: Final = "http://127.0.0.1:8502"

app = typer.Typer(help="Show what experiments are doing.", no_args_is_help=True)

AdminUrl = Annotated[str, typer.Option("--admin", envvar="TURPIN_ADMIN", help="URL of the gateway's admin port.")]
Token = Annotated[str, typer.Option("--token", envvar="TURPIN_TOKEN", help="Bearer token.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]


@app.command("list")
def list_experiments(admin: AdminUrl = _ADMIN, token: Token = "", as_json: AsJson = False) -> None:
    """List the experiments of a gateway."""
    answer = _get(admin, "/admin/v1/experiments", token)
    if as_json:
        _write_json(answer)
        return
    columns = ("name", "model", "phase", "control", "leader", "winner")
    _print_table(columns, answer.get("experiments", []))


@app.command("show")
def show_experiment(name: str, admin: AdminUrl = _ADMIN, token: Token = "", as_json: AsJson = False) -> None:
    """Show the state of one experiment: its phase, its arms, what they earn and cost."""
    state = _get(admin, f"/admin/v1/experiments/{urllib.parse.quote(name, safe='')}/state", token)
    if as_json:
        _write_json(state)
        return
    for key in ("name", "model", "phase", "reason", "control", "leader", "winner"):
        if state.get(key) not in (None, ""):
            sys.stdout.write(f"{key}: {_plain(str(state[key]))}\n")
    remaining = state.get("value_remaining") or {}
    if remaining.get("q95") is not None:
        sys.stdout.write(f"value remaining: {remaining['q95']:.2%} of the leader's (drained below ")
        sys.stdout.write(f"{remaining['threshold']:.2%})\n")
    # An operator's first question; empty once the end is decided.
    for waiting in state.get("not_ready") or ():
        sys.stdout.write(f"waits for: {_plain(str(waiting))}\n")
    columns = (
        *("name", "state", "weight", "decisions", "rewards", "rate", "prediction_cost_usd"),
        *("value_usd", "value_usd_low", "value_usd_high", "best_probability"),
    )
    _print_table(columns, state.get("arms", []))
    segments: list[Mapping[str, Any]] = [
        {"segment": one["name"], **arm} for one in state.get("segments") or () for arm in one["arms"]
    ]
    if segments:
        _print_table(("segment", *(column for column in columns if column in segments[0])), segments)


def _get(admin: str, path: str, token: str) -> dict[str, Any]:
    """Return the JSON object at `path`; leave the program with a message when there is none."""
    url = urllib.parse.urlsplit(admin)
    if url.scheme not in ("http", "https") or not url.netloc:
        _leave(f"--admin must be a URL such as {_ADMIN}; got '{admin}'", EXIT_BAD_INPUT)
    headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(admin.rstrip("/") + path, headers=headers)  # noqa: S310 the scheme is checked
    # No proxy: the admin port is near, and a token must not pass through one that nobody meant.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as answer:
            found: object = json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            _leave(f"{admin} answers {error.code}: {_detail(error.read())}", EXIT_FAILED)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        _leave(f"no gateway answers at {admin}: {reason}. Is `turpin serve` running there?", EXIT_FAILED)
    if not isinstance(found, dict):
        _leave(f"{admin}{path} is not an admin API of Turpin", EXIT_FAILED)
    return found


def _detail(body: bytes) -> str:
    """Return what a problem+json says, else the beginning of the body."""
    try:
        problem = json.loads(body)
        return str(problem.get("detail") or problem.get("title")) if isinstance(problem, dict) else str(problem)
    except ValueError:
        return body[:200].decode(errors="replace").strip() or "nothing"


def _leave(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"turpin: {_plain(message)}\n")
    raise typer.Exit(code)


def _write_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _print_table(columns: tuple[str, ...], rows: list[Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in ("name", "model", "state", "phase") else "right")
    for row in rows:
        # Text, not markup: what a server sends is shown, never obeyed.
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    # Piped into a file a table is as wide as it has to be.
    console = Console(width=None if sys.stdout.isatty() else 240)
    console.print(table)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return _plain(f"{value:.4g}" if isinstance(value, float) else str(value))


def _plain(text: str) -> str:
    """Return the text without what a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in text)
