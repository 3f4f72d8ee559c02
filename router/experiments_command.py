"""`turpin experiments` and `turpin arms`: what experiments are doing, and orders to them, through the admin API."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from router.admin_call import ADMIN, EXIT_BAD_INPUT, Gateway, leave, path_of, plain
from router.experiments_shown import (
    moment,
    print_done,
    print_forecast,
    print_picture,
    print_shadows,
    print_table,
    write_json,
)

app = typer.Typer(help="Show what experiments are doing, specify them, and give them orders.", no_args_is_help=True)
arms_app = typer.Typer(help="Show an experiment's arms, and send them away or take them back.", no_args_is_help=True)

AdminUrl = Annotated[str, typer.Option("--admin", envvar="TURPIN_ADMIN", help="URL of the gateway's admin port.")]
Token = Annotated[str, typer.Option("--token", envvar="TURPIN_TOKEN", help="Bearer token.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]
Why = Annotated[str, typer.Option("--reason", help="Why: kept in the history and the audit.", show_default=False)]
File = Annotated[Path, typer.Argument(help="The experiment's YAML or JSON file; - for standard input.")]


@app.command("list", epilog="Example: turpin experiments list --json")
def list_experiments(admin: AdminUrl = ADMIN, token: Token = "", as_json: AsJson = False) -> None:
    """List the experiments of a gateway."""
    answer = Gateway(admin, token).get("/admin/v1/experiments")
    if as_json:
        write_json(answer)
        return
    columns = ("name", "model", "phase", "control", "leader", "winner")
    print_table(columns, answer.get("experiments", []))


@app.command("show", epilog="Example: turpin experiments show digits")
def show_experiment(name: str, admin: AdminUrl = ADMIN, token: Token = "", as_json: AsJson = False) -> None:
    """Show the state of one experiment: its phase, its arms, what they earn and cost."""
    state = Gateway(admin, token).get(path_of(name, "state"))
    if as_json:
        write_json(state)
        return
    for key in ("name", "model", "phase", "reason", "control", "leader", "winner"):
        if state.get(key) not in (None, ""):
            sys.stdout.write(f"{key}: {plain(str(state[key]))}\n")
    remaining = state.get("value_remaining") or {}
    if remaining.get("q95") is not None:
        sys.stdout.write(f"value remaining: {remaining['q95']:.2%} of the leader's (drained below ")
        sys.stdout.write(f"{remaining['threshold']:.2%})\n")
    # An operator's first question; empty once the end is decided.
    for waiting in state.get("not_ready") or ():
        sys.stdout.write(f"waits for: {plain(str(waiting))}\n")
    print_picture(state.get("arms", []))
    columns = (
        *("name", "state", "weight", "decisions", "rewards", "rate", "prediction_cost_usd"),
        *("value_usd", "value_usd_low", "value_usd_high", "best_probability"),
    )
    print_table(columns, state.get("arms", []))
    segments: list[Mapping[str, Any]] = [
        {"segment": one["name"], **arm} for one in state.get("segments") or () for arm in one["arms"]
    ]
    if segments:
        print_table(("segment", *(column for column in columns if column in segments[0])), segments)
    print_shadows(state.get("shadow") or ())


@app.command("apply", epilog="Example: turpin experiments apply digits.yaml --start")
def apply_experiment(
    file: File,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would change, and what would come of it.")
    ] = False,
    start: Annotated[bool, typer.Option("--start", help="Start it if it is a draft afterwards.")] = False,
    reason: Why = "",
    admin: AdminUrl = ADMIN,
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Make an experiment what its file says: create it as a draft, or edit the one that is there."""
    spec, gateway = _read(file), Gateway(admin, token)
    name = str(spec.get("name", ""))
    there = gateway.call("GET", path_of(name)) if name else None
    query = "?dryRun=true" if dry_run else ""
    if there is None or there.status == 404:
        answer = gateway.write("POST", f"/admin/v1/experiments{query}", spec, reason=reason)
    else:
        gateway.expect(there)
        answer = gateway.write("PUT", path_of(name) + query, spec, etag=there.etag, reason=reason)
    if start and not dry_run and answer.get("phase") == "draft":
        answer = gateway.write("POST", f"{path_of(name)}:start", {"reason": reason})
    if as_json:
        write_json(answer)
    elif dry_run:
        print_forecast(answer)
    else:
        print_done(answer)


@app.command("diff", epilog="Example: turpin experiments diff digits.yaml")
def diff_experiment(file: File, admin: AdminUrl = ADMIN, token: Token = "", as_json: AsJson = False) -> None:
    """Show how an experiment's file differs from the one that is there."""
    apply_experiment(file, dry_run=True, admin=admin, token=token, as_json=as_json)


@app.command("history", epilog="Example: turpin experiments history digits")
def show_history(name: str, admin: AdminUrl = ADMIN, token: Token = "", as_json: AsJson = False) -> None:
    """Show what happened to an experiment, with causes."""
    notes = Gateway(admin, token).get_all(path_of(name, "history"), "history")
    if as_json:
        write_json({"history": notes})
        return
    rows = [note | {"when": moment(note.get("now"))} for note in notes]
    print_table(("when", "what", "before", "after", "why"), rows)


@app.command("report", epilog="Example: turpin experiments report digits --plot")
def show_report(
    name: str,
    plot: Annotated[bool, typer.Option("--plot", help="With the plot as inline SVG, for a page.")] = False,
    admin: AdminUrl = ADMIN,
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Show what happened, what it earned against control alone, and why it stopped: Markdown, or JSON."""
    from router.admin.report_text import markdown

    report = Gateway(admin, token).get(path_of(name, "report"))
    if as_json:
        write_json(report)
    else:
        sys.stdout.write(markdown(report, has_plot=plot))


def _order(verb: str, about: str) -> None:
    @app.command(verb, help=about, epilog=f"Example: turpin experiments {verb} digits --reason 'as agreed'")
    def give(name: str, reason: Why = "", admin: AdminUrl = ADMIN, token: Token = "", as_json: AsJson = False) -> None:
        _give(Gateway(admin, token), f"{path_of(name)}:{verb}", {"reason": reason}, as_json)


for _verb, _about in (
    ("start", "Warm the arms, then learn."),
    ("pause", "Control serves, nothing is learned or retired."),
    ("resume", "Go on after a pause or a bypass."),
    ("stop", "End it undecided, with the weights as they are."),
    ("bypass", "All to control at once, after the end to the winner; works while the store is away."),
    ("archive", "Put a concluded experiment away."),
):
    _order(_verb, _about)


@app.command("promote", epilog="Example: turpin experiments promote digits v2 --reason 'decided by hand'")
def promote(
    name: str,
    arm: Annotated[str, typer.Argument(help="The arm that wins; the leader when none is named.")] = "",
    reason: Why = "",
    admin: AdminUrl = ADMIN,
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Declare the winner: it serves, and the others go."""
    body = {"reason": reason} | ({"arm": arm} if arm else {})
    _give(Gateway(admin, token), f"{path_of(name)}:promote", body, as_json)


@app.command("rollback", epilog="Example: turpin experiments rollback digits --revision 3 --reason 'v7 is slow'")
def rollback(
    name: str,
    revision: Annotated[
        int | None, typer.Option("--revision", "--to", min=1, help="An earlier revision; else control serves again.")
    ] = None,
    reason: Why = "",
    admin: AdminUrl = ADMIN,
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Go back to control, or to what an earlier revision specified; what it replaces goes."""
    body: dict[str, Any] = {"reason": reason} | ({} if revision is None else {"revision": revision})
    _give(Gateway(admin, token), f"{path_of(name)}:rollback", body, as_json)


@arms_app.command("list", epilog="Example: turpin arms list digits")
def list_arms(name: str, admin: AdminUrl = ADMIN, token: Token = "", as_json: AsJson = False) -> None:
    """List the arms of an experiment, their states and why."""
    answer = Gateway(admin, token).get(path_of(name, "arms"))
    if as_json:
        write_json(answer)
        return
    print_table(("name", "state", "backend", "model", "version", "reason"), answer.get("arms", []))


def _arm_order(verb: str, about: str) -> None:
    @arms_app.command(verb, help=about, epilog=f"Example: turpin arms {verb} digits v2 --reason 'as agreed'")
    def give(
        name: str, arm: str, reason: Why = "", admin: AdminUrl = ADMIN, token: Token = "", as_json: AsJson = False
    ) -> None:
        _give(Gateway(admin, token), f"{path_of(name, 'arms', arm)}:{verb}", {"reason": reason}, as_json)


for _verb, _about in (
    ("drain", "No more traffic for this arm; it is unloaded when its grace is over."),
    ("restore", "Take this arm back, at once while it is loaded."),
    ("retire", "Drain this arm and unload it, without its grace."),
):
    _arm_order(_verb, _about)


def _give(gateway: Gateway, path: str, body: Mapping[str, Any], as_json: bool) -> None:
    answer = gateway.write("POST", path, body)
    if as_json:
        write_json(answer)
    else:
        print_done(answer)


def _read(file: Path) -> dict[str, Any]:
    """Return an experiment as it is written; leave the program when it can't be read."""
    from router.config.document import BadInput, read_text, read_yaml

    try:
        text = read_text(str(file))
    except BadInput as error:
        leave(str(error), EXIT_BAD_INPUT)
    try:
        found = read_yaml(text)
    except BadInput as error:
        leave(f"{file}: {error}", EXIT_BAD_INPUT)
    if not isinstance(found, dict):
        leave(f"{file} must hold an experiment, a mapping with a name", EXIT_BAD_INPUT)
    return found
