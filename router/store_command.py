"""`turpin store`: a person's word on a store that is not the one the gateways knew."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from router.admin_call import plain

app = typer.Typer(help="Go on with a Redis that came back empty or older.", no_args_is_help=True)

_EXIT_FAILED = 1
_EXIT_BAD_INPUT = 2


@app.command("accept", epilog="Example: turpin store accept -c turpin.yaml")
def accept(
    config: Annotated[Path, typer.Option("--config", "-c", envvar="TURPIN_CONFIG", help="The configuration file.")],
) -> None:
    """Have all gateways go on with their Redis as it is now: what it lost stays lost."""
    from router.config import load_config
    from router.config.document import BadInput
    from router.store import StoreError
    from router.store.redis_store import RedisStore

    try:
        url = load_config(config).store
    except BadInput as error:
        for problem in error.problems:
            sys.stderr.write(plain(str(problem)) + "\n")
        raise typer.Exit(_EXIT_BAD_INPUT) from None
    if not url.startswith("redis"):
        sys.stderr.write("turpin: only a Redis can come back as another; the store of this configuration is none\n")
        raise typer.Exit(_EXIT_BAD_INPUT)

    async def go_on() -> None:
        store = RedisStore(url)
        await store.open()
        try:
            await store.accept()
        finally:
            await store.close()

    try:
        asyncio.run(go_on())
    except StoreError as error:
        sys.stderr.write(f"turpin: {error}\n")
        raise typer.Exit(_EXIT_FAILED) from None
    typer.echo("accepted: all gateways go on with the store as it is")
