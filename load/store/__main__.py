"""`make bench-store`: acknowledged rewards/s into Redis and SQLite, and what Redis remembers of each, in half a minute.

Starts redis-servers of its own, with a log, in a temporary folder. Prints the table and the bars, and writes both, with
the machine and the commit, to load/results. Exit code 1 when a bar is missed.
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from load.generate.machine import machine
from load.store.pushing import Rate, bytes_per_reward, redis_rate, sqlite_rate

_ROOT = Path(__file__).parents[2]

# The acceptance bars of the store: acknowledged rewards/s on a pair of cores, and bytes of memory.
_REDIS_MIN = 10_000.0
_SQLITE_MIN = 15_000.0
_BYTES_MAX = 120.0

Seconds = Annotated[float, typer.Option("--seconds", min=0.1, max=600, help="How long each row is measured.")]
Results = Annotated[Path, typer.Option("--results", help="Folder for store.json.")]


class Row(msgspec.Struct, frozen=True):
    """One store under one load, and its bar (rewards/s)."""

    store: str
    rate: Rate
    bar: float

    @property
    def is_kept(self) -> bool:
        """Whether the bar is kept."""
        return self.rate.per_s >= self.bar


class Measured(msgspec.Struct, frozen=True):
    """What is written."""

    machine: dict[str, Any]
    rows: list[Row]
    bytes_per_reward: float
    bytes_max: float


def main(seconds: Seconds = 4.0, results: Results = _ROOT / "load" / "results") -> None:
    """Measure every row once, one after the other."""
    with tempfile.TemporaryDirectory(prefix="turpin-store-") as folder:
        measured = asyncio.run(_measure(Path(folder), seconds))
    is_kept = show(measured)
    results.mkdir(parents=True, exist_ok=True)
    written = msgspec.json.format(msgspec.json.encode(measured), indent=2)
    (results / "store.json").write_bytes(written + b"\n")
    if not is_kept:
        raise typer.Exit(1)


async def _measure(folder: Path, seconds: float) -> Measured:
    rows = []
    for fsync in ("everysec", "always"):
        for batch, callers in ((64, 1), (64, 8), (1000, 1)):
            rate = await redis_rate(folder, fsync, batch, callers, seconds)
            rows.append(Row(f"redis, appendfsync {fsync}", rate, _REDIS_MIN))
    for batch, callers in ((64, 8), (1000, 1), (1000, 4)):
        rows.append(Row("sqlite", await sqlite_rate(folder, batch, callers, seconds), _SQLITE_MIN))
    return Measured(machine(), rows, await bytes_per_reward(folder), _BYTES_MAX)


def show(measured: Measured) -> bool:
    """Print the table; return whether all bars are kept."""
    lines = [str(measured.machine), f"{'store':30}{'batch':>7}{'callers':>9}{'rewards/s':>11}{'cpu us':>8}{'bar':>9}"]
    for row in measured.rows:
        figures = f"{row.rate.batch:7}{row.rate.callers:9}{row.rate.per_s:11,.0f}{row.rate.cpu_us:8.1f}{row.bar:9,.0f}"
        lines.append(f"{row.store:30}{figures}{'' if row.is_kept else '  MISSED'}")
    is_small = measured.bytes_per_reward <= measured.bytes_max
    lines.append(
        f"a remembered reward takes {measured.bytes_per_reward:.0f} bytes of Redis, at most {measured.bytes_max:g}"
        + ("" if is_small else "  MISSED")
    )
    sys.stdout.write("\n".join(lines) + "\n")
    return is_small and all(row.is_kept for row in measured.rows)


if __name__ == "__main__":
    typer.run(main)
