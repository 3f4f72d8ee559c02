"""`make bench-switching`: what requests notice of a deployment, a retirement, a restoration, a promotion and a rollback.

Sends at a fixed rate to a real gateway before an embedded model server; prints the table, and writes it to load/results.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from load.demo.signals import run_whole
from load.switching.windows import P99_MAX_S, Row

_ROOT = Path(__file__).parents[2]

Rate = Annotated[float, typer.Option("--rate", min=1, max=10_000, help="Requests per second.")]
Workers = Annotated[int, typer.Option("--workers", min=1)]
PortBase = Annotated[int, typer.Option("--port-base", help="Five ports in a row, from this one.")]
Results = Annotated[Path, typer.Option("--results", help="Folder for switching.json.")]


class Measured(msgspec.Struct, frozen=True):
    """What is written: the circumstances, and a row for each operation."""

    rate: float
    workers: int
    cpus: int
    load_average: tuple[float, float]  # over a minute, before and after
    rows: list[Row]
    states: dict[int, str]  # the model server's own, at the end


def main(
    rate: Rate = 500.0, workers: Workers = 1, port_base: PortBase = 18700, results: Results = _ROOT / "load" / "results"
) -> None:
    """Measure all operations once, one after the other."""
    with tempfile.TemporaryDirectory(prefix="turpin-switching-") as root:
        measured = run_whole(_measure(Path(root), rate, workers, port_base))
    _show(measured)
    results.mkdir(parents=True, exist_ok=True)
    written = msgspec.json.format(msgspec.json.encode(measured), indent=2)
    (results / "switching.json").write_bytes(written + b"\n")
    if not all(row.is_kept for row in measured.rows):
        raise typer.Exit(1)


async def _measure(root: Path, rate: float, workers: int, port_base: int) -> Measured:
    from load.switching.play import play
    from load.switching.stage import running
    from load.switching.windows import rows

    async with running(root, port_base=port_base, rate=rate, workers=workers) as stage:
        before = os.getloadavg()[0]
        await play(stage.operations, stage.sender, stage.package, steady_s=5.0)
        found = rows(stage.operations.windows, stage.sender.calls, stage.operations.outs)
        loads = (before, os.getloadavg()[0])
        return Measured(rate, workers, os.cpu_count() or 0, loads, found, await stage.server.states())


def _show(measured: Measured) -> None:
    lines = [
        f"{measured.rate:g} requests/s, {measured.workers} workers, {measured.cpus} cores, "
        f"machine load {measured.load_average[0]:.1f} before and {measured.load_average[1]:.1f} after",
        f"{'':10}{'took s':>9}{'requests':>10}{'failed':>8}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}{'to losers':>11}",
    ]
    for row in measured.rows:
        times = "".join(f"{1e3 * seconds:9.1f}" for seconds in (row.p50_s, row.p99_s, row.max_s))
        mark = "" if row.is_kept else "  MISSED"
        lines.append(
            f"{row.name:10}{row.took_s:9.1f}{row.requests:10}{row.failed:8}{times}{row.to_losers:11}{mark}"
            + "".join(f"\n    {error[:150]}" for error in row.errors)
        )
    lines.append(f"the bar: 0 failed, 0 to losers, p99 below {1e3 * P99_MAX_S:g} ms")
    lines.append(f"the model server's own states at the end: {measured.states}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    typer.run(main)
