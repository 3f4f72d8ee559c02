"""`turpin prices`: what each backend costs an hour, and the word on a price that waits for an operator."""

from typing import Annotated

import typer

from router.admin_call import ADMIN, Gateway, plain, quoted
from router.experiments_command import AdminUrl, AsJson, Token, Why
from router.experiments_shown import print_table, write_json

app = typer.Typer(help="Show what backends cost, and accept a price that waits.", no_args_is_help=True)

_COLUMNS = ("backend", "usd_per_hour", "waiting_usd_per_hour", "feed", "age_s", "warning")


@app.command("list", epilog="Example: turpin prices list")
def list_prices(admin: AdminUrl = ADMIN, token: Token = "", as_json: AsJson = False) -> None:
    """List the price of each backend, where it comes from, and what is wrong with it."""
    answer = Gateway(admin, token).get("/admin/v1/prices")
    if as_json:
        write_json(answer)
        return
    print_table(_COLUMNS, answer.get("prices", []))


@app.command("accept", epilog="Example: turpin prices accept tfs-a --reason 'the provider confirmed it'")
def accept(
    backend: Annotated[str, typer.Argument(help="The backend whose price waits.")],
    reason: Why = "",
    admin: AdminUrl = ADMIN,
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Put a price that waits into force: it moved further at once than markets do."""
    answer = Gateway(admin, token).write("POST", f"/admin/v1/prices/{quoted(backend)}:accept", {"reason": reason})
    if as_json:
        write_json(answer)
        return
    typer.echo(plain(f"{answer.get('backend')} costs ${answer.get('usd_per_hour')} an hour"))
