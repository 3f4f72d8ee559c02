"""The table of bars: judged, printed, and written to load/results."""

import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy
from rich import box
from rich.console import Console
from rich.table import Table

from load.learn.cache import Cache
from load.learn.cell import Elsewhere, Part, Row
from load.learn.judge import Verdict, worst_of
from load.simulate.pool import cores

_ROOT: Final = Path(__file__).parents[2]
_STYLES: Final[dict[Verdict, str]] = {
    "met": "green",
    "unclear": "yellow",
    "missed": "bold red",
    "elsewhere": "dim",
    "waiting": "dim",
}
_WORDS: Final = (
    "met: the figure is within its bar. unclear: it is beyond, by no more than chance may bring so few repetitions. "
    "missed: it is beyond. elsewhere: a test holds it. waiting: a cell has no repetition yet, or the learner can't do it yet. "
    "Rows with a star may not be missed."
)


@dataclass(frozen=True, slots=True)
class Line:
    """A row as it came out. `repetitions` is that of the cell with fewest, `wanted` what it should have had."""

    part: str
    name: str
    bar: str
    seen: tuple[str, ...]
    repetitions: int
    wanted: int
    verdict: Verdict
    is_required: bool
    note: str


def lines_of(parts: Sequence[Part], cache: Cache, *, is_full: bool) -> list[Line]:
    """Judge every row on what there is."""
    return [_line(part.heading, row, cache, is_full=is_full) for part in parts for row in part.rows]


def _line(heading: str, row: Row | Elsewhere, cache: Cache, *, is_full: bool) -> Line:
    if isinstance(row, Elsewhere):
        return Line(heading, row.name, row.bar, (row.where,), 0, 0, "elsewhere", False, "")
    answers = [[answer for _, answer in sorted(cache.answers(cell).items())] for cell in row.cells]
    repetitions, wanted = min(
        ((len(runs), cell.wanted(is_full=is_full)) for runs, cell in zip(answers, row.cells, strict=True)),
        key=lambda pair: pair[0] / pair[1],
    )
    if repetitions == 0:
        return Line(heading, row.name, row.bar, (), 0, wanted, "waiting", row.is_required, "")
    refused = sorted({answer["refused"] for runs in answers for answer in runs if "refused" in answer})
    if refused:
        return Line(heading, row.name, row.bar, tuple(refused), 0, wanted, "waiting", row.is_required, "")
    demands = row.judge(answers)
    verdict = worst_of(demands)
    note = row.note if verdict in ("missed", "unclear") else ""
    seen = tuple(demand.seen for demand in demands)
    return Line(heading, row.name, row.bar, seen, repetitions, wanted, verdict, row.is_required, note)


def show(lines: Sequence[Line], console: Console) -> None:
    """Print the table."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", "bar", "seen", "R", "verdict"):
        table.add_column(column, justify="right" if column == "R" else "left")
    part = ""
    for line in lines:
        if line.part != part:
            part = line.part
            table.add_row(f"[bold]{part}[/bold]")
        seen = "\n".join([*line.seen, *([line.note] if line.note else [])])
        table.add_row(_starred(line), line.bar, seen, _repetitions(line), f"[{_STYLES[line.verdict]}]{line.verdict}")
    console.print(table)
    console.print(summary(lines), highlight=False)


def summary(lines: Sequence[Line]) -> str:
    """Say how many rows came out how."""
    verdicts: tuple[Verdict, ...] = ("met", "unclear", "missed", "waiting", "elsewhere")
    counts = {verdict: sum(line.verdict == verdict for line in lines) for verdict in verdicts}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)


def _starred(line: Line) -> str:
    return f"{line.name} *" if line.is_required else line.name


def _repetitions(line: Line) -> str:
    if not line.wanted:
        return ""
    return f"{line.repetitions}" if line.repetitions >= line.wanted else f"{line.repetitions}/{line.wanted}"


def machine() -> dict[str, Any]:
    """Say what machine this is, and what code."""
    info = Path("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": cores(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "commit": _git("rev-parse", "HEAD"),
        "is_clean": not _git("status", "--porcelain", "--untracked-files=no"),
    }


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def write(lines: Sequence[Line], folder: Path, code: str, seconds: float, *, is_full: bool) -> None:
    """Write learn.json and learn.md."""
    folder.mkdir(parents=True, exist_ok=True)
    made = machine() | {"code": code, "is_full": is_full, "seconds": round(seconds, 1)}
    document = {"machine": made, "rows": [asdict(line) for line in lines]}
    (folder / "learn.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    (folder / "learn.md").write_text(_markdown(lines, made))


def _markdown(lines: Sequence[Line], made: dict[str, Any]) -> str:
    text = [
        "# The table of bars",
        "",
        "Written by `make learn`; every figure comes from simulated worlds in which the production learner learns.",
        "",
        _WORDS,
        "",
        f"{summary(lines)}. {'All' if made['is_full'] else 'Default'} repetitions, "
        f"{made['cores']} cores of {made['cpu']}, Python {made['python']}, numpy {made['numpy']}, scipy {made['scipy']}; "
        f"commit {made['commit'][:12]}{'' if made['is_clean'] else ' with changes'}.",
    ]
    part = ""
    for line in lines:
        if line.part != part:
            part = line.part
            text += ["", f"## {part}", "", "| | bar | seen | R | verdict |", "|---|---|---|---:|---|"]
        seen = "<br>".join([*line.seen, *([line.note] if line.note else [])])
        text.append(f"| {_starred(line)} | {line.bar} | {seen} | {_repetitions(line)} | {line.verdict} |")
    return "\n".join(text) + "\n"
