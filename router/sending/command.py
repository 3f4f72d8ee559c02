"""`turpin rewards`: the command line's side of it. Importing this module must stay cheap: every command of `turpin` does."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router.admin_call import EXIT_BAD_INPUT, EXIT_FAILED, leave, plain
from router.experiments_command import AsJson, Token
from router.experiments_shown import write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from router.sending.lines import Line
    from router.sending.sender import Books

app = typer.Typer(help="Say how good answers were.", no_args_is_help=True)

# As many refusals are told one by one; a file of another experiment would fill the screen.
_TOLD_MAX = 20

Decision = Annotated[str | None, typer.Argument(metavar="[DECISION]", help="The token.", show_default=False)]
Reward = Annotated[float | None, typer.Argument(metavar="[REWARD]", help="How good it was.", show_default=False)]
Event = Annotated[str, typer.Option("--event", help="With a DECISION: which event.")]
File = Annotated[
    Path | None,
    typer.Option("--file", help='Rewards, a JSON object a line: {"decision": "…", "reward": 1}; - for standard input.'),
]
Http = Annotated[str, typer.Option("--http", envvar="TURPIN_HTTP", help="URL of a gateway's HTTP port.")]
Batch = Annotated[int, typer.Option("--batch", min=1, max=10_000, help="Rewards in one call.")]
First = Annotated[int, typer.Option("--from", min=1, help="The first line to send.")]
Patience = Annotated[float, typer.Option("--wait", min=0.0, help="Seconds to wait for a gateway that is away.")]


@app.command("send", epilog="Example: turpin rewards send --file rewards.jsonl")
def send_rewards(
    decision: Decision = None,
    reward: Reward = None,
    event: Event = "default",
    file: File = None,
    http: Http = "http://127.0.0.1:8501",
    token: Token = "",
    batch: Batch = 1_000,
    first: First = 1,
    patience_s: Patience = 60.0,
    as_json: AsJson = False,
) -> None:
    """Send rewards, one or a file of them; sent again they count once, so what was interrupted is just run again."""
    from router.sending import lines, sender
    from turpin.client import Client

    if (file is None) == (decision is None) or (reward is None) != (decision is None):
        leave("give a DECISION and its REWARD, or --file", EXIT_BAD_INPUT)
    books = sender.Books(next_line=first)
    stopped = ""
    try:
        client = Client(data_url=http, token=token)
        with _opened(file, decision, reward, event) as source, _progress(file, books) as on_batch:
            batches = lines.batches(lines.read(source, first), batch)
            sender.send(
                client,
                batches,
                books,
                patience_s=patience_s,
                on_batch=on_batch,
                on_refusal=_teller(is_one=file is None),
            )
    except sender.Stopped as error:
        stopped = str(error)
    except KeyboardInterrupt:
        stopped = "interrupted"
    except (lines.BadLine, ValueError) as error:
        books.is_bad_input, stopped = True, str(error)
    except OSError as error:
        # Without the system's own word it is no file's, but of a certificate, and says it all.
        books.is_bad_input, stopped = True, f"can't read {file}: {error.strerror}" if error.strerror else str(error)
        if books.next_line == first:
            leave(stopped, EXIT_BAD_INPUT)
    _tell(books, stopped, file, as_json=as_json)
    if books.is_bad_input or stopped or books.refused:
        raise typer.Exit(EXIT_BAD_INPUT if books.is_bad_input else EXIT_FAILED)


def _tell(books: "Books", stopped: str, file: Path | None, *, as_json: bool) -> None:
    if as_json:
        write_json(books.document())
    else:
        refused = books.refused.total()
        words = [f"{books.recorded:,} recorded"]
        words += [f"{books.duplicates:,} were there before"] if books.duplicates else []
        words += [f"{books.learned:,} of these are learned from"]
        words += [f"{books.spooled:,} of them wait in a file until the store is back"] if books.spooled else []
        words += [f"{refused:,} refused"] if refused else []
        sys.stdout.write(", ".join(words) + "\n")
    if stopped:
        sys.stderr.write(f"turpin: {plain(stopped)}\n")
    if stopped and file is not None:
        sys.stderr.write(
            f"Lines before {books.next_line} were answered. Run it again as it was, for each reward counts once, "
            f"or with --from {books.next_line}.\n"
        )


def _teller(*, is_one: bool) -> "Callable[[int, str], None]":
    """Return what tells of refusals on stderr, the first ones by their line."""
    told = 0

    def tell(number: int, reason: str) -> None:
        nonlocal told
        told += 1
        if told <= _TOLD_MAX:
            sys.stderr.write(("" if is_one else f"line {number}: ") + plain(reason) + "\n")
        elif told == _TOLD_MAX + 1:
            sys.stderr.write("more are refused; they are counted\n")

    return tell


def _opened(file: Path | None, decision: str | None, reward: float | None, event: str) -> Any:
    """Return what yields the lines: the file, standard input, or one line of the arguments."""
    import io

    if file is None:
        claim = {"decision": decision, "reward": reward, "event": event}
        return nullcontext(io.BytesIO(json.dumps(claim).encode()))
    return nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb")


@contextmanager
def _progress(file: Path | None, books: "Books") -> "Iterator[Callable[[Sequence[Line]], None]]":
    """Yield what is told of each batch that is done: a bar on a terminal, nothing elsewhere."""
    if file is None or not sys.stderr.isatty():
        yield lambda batch: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    size_bytes = None if str(file) == "-" else file.stat().st_size
    columns = (
        TextColumn("{task.fields[rewards]:,} rewards"),
        BarColumn(),
        TextColumn("{task.fields[refused]:,} refused"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("rewards", total=size_bytes, rewards=0, refused=0)

        def show(batch: "Sequence[Line]") -> None:
            done = books.recorded + books.duplicates
            bytes_done = sum(line.size_bytes for line in batch)
            bar.update(task, advance=bytes_done, rewards=done, refused=books.refused.total())

        yield show
