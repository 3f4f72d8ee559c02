"""`make chaos`: real processes are killed, stopped, cut off and restarted, and every acknowledged reward must count once.

Prints each case with its figures and whether all laws held, and writes them, with the machine and the commit, to
load/results/chaos.json; cases that are not played keep their rows. Exit code 1 when a law is broken.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from load.chaos.case import Case, Row
from load.chaos.playing import play
from load.chaos.table import CASES
from load.demo.signals import run_whole

_ROOT = Path(__file__).parents[2]

Short = Annotated[bool, typer.Option("--short", help="Fewer and shorter; without --only those that the tests play.")]
Only = Annotated[str, typer.Option("--only", help="Cases whose name or numbers have this in them.")]
Seed = Annotated[int, typer.Option("--seed", help="Of the moments and the rewards.")]
Keep = Annotated[Path | None, typer.Option("--keep", help="Folder for logs and books, instead of one that goes.")]
Results = Annotated[
    Path, typer.Option("--results", help="Folder for chaos.json, whose rows are replaced but for --short.")
]


class Measured(msgspec.Struct, frozen=True):
    """What is written: a row for each case."""

    cases: list[Row]

    @property
    def kills(self) -> int:
        """SIGKILLs with rewards in flight."""
        return sum(int(row.figures.get("kills", 0)) for row in self.cases)

    @property
    def took_s(self) -> float:
        """How long all of them took."""
        return sum(row.took_s for row in self.cases)


def main(
    short: Short = False,
    only: Only = "",
    seed: Seed = 1,
    keep: Keep = None,
    results: Results = _ROOT / "load" / "results",
) -> None:
    """Play the cases one after the other."""
    chosen = [case for case in CASES if only in case.name or only in case.numbers.split(", ")]
    if short and not only:
        chosen = [case for case in chosen if case.is_in_short]
    if not chosen:
        raise typer.BadParameter(f"no case has {only!r} in its name or among its numbers", param_hint="--only")
    with tempfile.TemporaryDirectory(prefix="turpin-chaos-") as folder:
        rows = run_whole(_play_all(chosen, (keep or Path(folder)).resolve(), is_short=short, seed=seed))
    sys.stdout.write(summary(Measured(rows)) + "\n")
    if not short:
        keep_rows(results / "chaos.json", rows)
    if not all(row.holds for row in rows):
        raise typer.Exit(1)


def keep_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows into the file; those of cases that were not played again stay, of cases that are no more they go."""
    kept = (
        {row.name: row for row in msgspec.json.decode(path.read_bytes(), type=Measured).cases} if path.exists() else {}
    )
    kept |= {row.name: row for row in rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    measured = Measured([kept[case.name] for case in CASES if case.name in kept])
    path.write_bytes(msgspec.json.format(msgspec.json.encode(measured), indent=2) + b"\n")


async def _play_all(cases: Sequence[Case], root: Path, *, is_short: bool, seed: int) -> list[Row]:
    columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    rows = []
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=len(cases))
        for case in cases:
            progress.update(bar, description=case.name)

            def tell(words: str, case: Case = case) -> None:
                progress.update(bar, description=f"{case.name}: {words}")

            row = await play(case, root, is_short=is_short, seed=seed, tell=tell)
            sys.stdout.write(shown(row) + "\n")
            sys.stdout.flush()
            rows.append(row)
            progress.advance(bar)
    return rows


def shown(row: Row) -> str:
    """Say what a case found."""
    mark = "SKIPPED" if row.skipped else "held" if row.holds else "BROKEN"
    figures = ", ".join(f"{name} {value}" for name, value in row.figures.items())
    lines = [
        f"{mark:8}{row.name} ({row.numbers}), {row.took_s:.0f} s",
        f"        wanted: {row.wanted}",
        f"        found:  {row.skipped or figures}",
    ]
    return "\n".join(lines + [f"        BROKEN: {law[:500]}" for law in row.broken])


def summary(measured: Measured) -> str:
    """Say how many cases held."""
    rows = measured.cases
    held = sum(row.holds and not row.skipped for row in rows)
    skipped = [row.name for row in rows if row.skipped]
    lines = [
        f"{held} of {len(rows)} cases held, {measured.kills} SIGKILLs with rewards in flight, {measured.took_s:.0f} s",
    ]
    return "\n".join(lines + [f"NOT PLAYED: {name}" for name in skipped])


if __name__ == "__main__":
    typer.run(main)
