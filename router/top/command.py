"""`turpin top`: a live view of a gateway. Importing this module must stay cheap: every command of `turpin` does."""

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from router.admin_call import ADMIN, EXIT_FAILED, checked_url, leave, plain
from router.experiments_command import AdminUrl, AsJson, Token
from router.json_text import json_text

if TYPE_CHECKING:
    from router.top.source import Reading
    from router.top.watch import Show

Name = Annotated[str | None, typer.Argument(metavar="[EXPERIMENT]", help="Only this one.", show_default=False)]
Once = Annotated[bool, typer.Option("--once", help="One frame, after a second; without a terminal it is always so.")]
Every = Annotated[float, typer.Option("--every", min=0.2, max=3600.0, help="Seconds between readings.")]


def top(
    experiment: Name = None,
    once: Once = False,
    every_s: Every = 1.0,
    admin: AdminUrl = ADMIN,
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Watch a gateway: traffic and errors, experiments and what they wait for, backends, alarms."""
    from router.top.source import NotAllowed, NotThere

    checked_url(admin)
    is_once = once or not (as_json or sys.stdout.isatty())
    try:
        asyncio.run(_run(admin, token, experiment, every_s, is_once=is_once, as_json=as_json))
    except NotThere as error:
        leave(f"{error}. Is `turpin serve` running there?", EXIT_FAILED)
    except (NotAllowed, OSError) as error:
        leave(str(error), EXIT_FAILED)


async def _run(admin: str, token: str, experiment: str | None, every_s: float, *, is_once: bool, as_json: bool) -> None:
    import aiohttp

    from router.clock import unix_now
    from router.top.source import Source
    from router.top.watch import Wake, once, watch

    async with aiohttp.ClientSession() as session:
        source = Source(session, admin, token, unix_now=unix_now, experiment=experiment)
        if is_once:
            reading = await once(source)
            with _shown(as_json=as_json, is_live=False) as show:
                show(reading, "")
            return
        wake = Wake()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, wake.end)
        with _shown(as_json=as_json, is_live=True) as show:
            await watch(source, show, every_s, wake)


@contextmanager
def _shown(*, as_json: bool, is_live: bool) -> "Iterator[Show]":
    """Yield what shows a reading: as a line of JSON, as a frame in the place of the one before, or as a frame."""
    if as_json:
        yield _write_line
        return
    from rich.console import Console
    from rich.live import Live

    from router.top.frame import frame

    # In a file a frame is as wide as its widest line.
    console = Console(width=None if sys.stdout.isatty() else 160)
    if not is_live:
        yield lambda reading, lost: console.print(frame(reading, columns=console.width, lost=lost))
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        yield lambda reading, lost: live.update(frame(reading, columns=console.width, lost=lost), refresh=True)


def _write_line(reading: "Reading", lost: str) -> None:
    """Write a reading that is new; why there is none goes to people."""
    if lost:
        sys.stderr.write(f"turpin: {plain(lost)}\n")
        return
    sys.stdout.write(json_text(reading.document()) + "\n")
    sys.stdout.flush()
