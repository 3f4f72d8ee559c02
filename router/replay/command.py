"""`turpin replay`: what another policy would have earned, from a log of anybody's or from our own journal.

Importing this module must stay cheap: every command of `turpin` does.
"""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from router.admin_call import plain
from router.json_text import json_text

if TYPE_CHECKING:
    from router.replay.report import Answer

EXIT_FAILED: Final = 1
EXIT_BAD_INPUT: Final = 2

LogFile = Annotated[
    str | None,
    typer.Argument(
        metavar="[LOG.jsonl]",
        help="Lines {arm, propensity, target_propensity, reward, cost_usd?}; - is stdin.",
        show_default=False,
    ),
]
Folder = Annotated[Path | None, typer.Option("--journal", help="Our own journal instead: the folder of its files.")]
PolicyText = Annotated[str, typer.Option("--policy", help="uniform, arm:NAME or weights:NAME=SHARE,…")]
Name = Annotated[str, typer.Option("--experiment", help="Which one, if the journal has several.")]
Since = Annotated[str, typer.Option(help="Decisions from then on; ISO 8601, UTC unless it says otherwise.")]
Until = Annotated[str, typer.Option(help="Decisions before then.")]
Floor = Annotated[float | None, typer.Option(min=1e-6, max=1.0, help="The least propensity: cuts weights at 1/floor.")]
Value = Annotated[float | None, typer.Option(help="What a reward of 1 is worth, in dollars.")]
Force = Annotated[bool, typer.Option("--force", help="Exit 0 even where the answer is refused.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]


def replay(
    log: LogFile = None,
    journal: Folder = None,
    policy: PolicyText = "",
    experiment: Name = "",
    since: Since = "",
    until: Until = "",
    floor: Floor = None,
    value_usd: Value = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Say what another policy would have earned on logged decisions; refuse what the log can't tell."""
    if (log is None) == (journal is None):
        _leave("give either a LOG.jsonl or --journal FOLDER")
    if value_usd is not None and not (math.isfinite(value_usd) and value_usd > 0):
        _leave(f"--value-usd must be more than 0; got {value_usd:g}")
    if journal is None:
        if policy or experiment or since or until:
            _leave("--policy, --experiment, --since and --until go with --journal: a log brings its own policy")
        answer = _of_log(str(log), floor, value_usd)
    else:
        if not policy:
            _leave("--journal needs a --policy: uniform, arm:NAME or weights:NAME=SHARE,…")
        window = (_time("--since", since, 0.0), _time("--until", until, math.inf))
        answer = _of_journal(journal, policy, experiment, window, floor, value_usd)
    _write(answer, as_json=as_json)
    if answer["refused"] and not force:
        raise typer.Exit(EXIT_FAILED)


def _of_log(log: str, floor: float | None, value_usd: float | None) -> "Answer":
    from router.replay.loglines import BadLog, read_log
    from router.replay.report import replay_log

    try:
        with _opened(log) as file:
            read = read_log(file)
    except OSError as error:
        _leave(f"can't read '{log}': {error.strerror}")
    except BadLog as error:
        _leave(*error.problems)
    return replay_log(read, floor=floor, value_usd=value_usd)


@contextmanager
def _opened(log: str) -> Iterator[IO[bytes]]:
    if log == "-":
        yield sys.stdin.buffer
        return
    with Path(log).open("rb") as file:
        yield file


def _of_journal(
    folder: Path,
    policy: str,
    experiment: str,
    window: tuple[float, float],
    floor: float | None,
    value_usd: float | None,
) -> "Answer":
    from router.journal.reading import NoRecords, read_journal
    from router.replay.policies import BadPolicy
    from router.replay.report import replay_journal

    try:
        records = read_journal(folder, experiment=experiment or None, since=window[0], until=window[1])
        return replay_journal(records, policy, floor=floor, value_usd=value_usd)
    except (NoRecords, BadPolicy) as error:
        _leave(str(error))


def _time(option: str, text: str, default: float) -> float:
    """Return unix seconds of what was written; times without a zone are UTC."""
    if not text:
        return default
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        _leave(f"{option} must be a time such as 2026-01-31 or 2026-01-31T18:00+01:00; got '{text}'")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _write(answer: "Answer", *, as_json: bool) -> None:
    from router.replay.report import words

    if as_json:
        sys.stdout.write(json_text(answer, indent=2, allow_nan=False) + "\n")
    else:
        sys.stdout.write("".join(f"{plain(line)}\n" for line in words(answer).split("\n")[:-1]))


def _leave(*messages: str) -> NoReturn:
    for message in messages:
        sys.stderr.write(f"turpin replay: {plain(message)}\n")
    raise typer.Exit(EXIT_BAD_INPUT)
