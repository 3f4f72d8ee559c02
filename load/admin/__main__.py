"""`make bench-admin`: how long the admin port takes to answer while the data plane has all it can do; half a minute.

A real gateway with an experiment of 50 arms gets as many predictions as it takes. Meanwhile every reading route is asked
in turn, the metrics are scraped once a second, and /healthz, which computes nothing, is asked a hundred times a second:
it shows what else holds up the event loop. Prints the table, and writes it to load/results.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Final

import aiohttp
import msgspec
import typer

from load.admin.asking import Times, ask, at
from load.admin.stage import EXPERIMENT, Stage, running
from load.generate.machine import machine
from load.generate.push import generator, push
from load.generate.rig import MODEL
from load.generate.sender import body_of

_ROOT = Path(__file__).parents[2]

# The bars of issue 7: every route's slowest hundredth, and a scrape with 50 arms.
_P99_MAX_S: Final = 0.05
_SCRAPE_MAX_S: Final = 0.05
# In flight at the gateway all the time.
_IN_FLIGHT: Final = 64
_ONE: Final = f"/admin/v1/experiments/{EXPERIMENT}"
_PATHS: Final = (
    *("/admin/v1/version", "/admin/v1/experiments", _ONE, f"{_ONE}/state", f"{_ONE}/arms", f"{_ONE}/history"),
    *(f"{_ONE}/report", "/admin/v1/backends", "/admin/v1/prices", "/admin/v1/costs", "/admin/v1/audit"),
)
_SCRAPE: Final = "/metrics"
_IDLE: Final = "/healthz"

Arms = Annotated[int, typer.Option("--arms", min=2, max=50)]
Seconds = Annotated[float, typer.Option("--seconds", min=1.0, max=600.0)]
Results = Annotated[Path, typer.Option("--results", help="Folder for admin.json.")]


class Row(msgspec.Struct, frozen=True):
    """How long one path took, in milliseconds from when it was to be asked."""

    path: str
    answers: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class Measured(msgspec.Struct, frozen=True):
    """What is written. `all_p99_ms` is over all paths but the scrape; `failed` were not answered with 200.

    `loop_ran`, `loop_waited`: of the time the share that the control process's loop ran, and that it could have run and
    waited for a processor. Where it waited much, the machine is what was measured.
    """

    machine: dict[str, Any]
    arms: int
    predictions_per_s: float
    generator: str
    all_p99_ms: float
    scrape_p99_ms: float
    failed: int
    loop_ran: float
    loop_waited: float
    rows: list[Row]

    @property
    def is_kept(self) -> bool:
        """Whether both bars are kept, and everything was answered."""
        return self.all_p99_ms < _P99_MAX_S * 1e3 and self.scrape_p99_ms < _SCRAPE_MAX_S * 1e3 and not self.failed


def main(arms: Arms = 50, seconds: Seconds = 20.0, results: Results = _ROOT / "load" / "results") -> None:
    """Measure once."""
    with tempfile.TemporaryDirectory(prefix="turpin-admin-") as root:
        measured = asyncio.run(_measure(Path(root), arms, seconds))
    _show(measured)
    results.mkdir(parents=True, exist_ok=True)
    (results / "admin.json").write_bytes(msgspec.json.format(msgspec.json.encode(measured), indent=2) + b"\n")
    raise typer.Exit(0 if measured.is_kept else 1)


async def _measure(folder: Path, arms: int, seconds: float) -> Measured:
    noted = machine()
    async with running(folder, arms) as stage, aiohttp.ClientSession(stage.admin) as session:
        before, began = await _answered(session), time.perf_counter()
        ran_s, waited_s = stage.ran_and_waited_s()
        times = await _asked(stage, session, seconds)
        answered, took_s = await _answered(session) - before, time.perf_counter() - began
        ran_s, waited_s = (now - then for now, then in zip(stage.ran_and_waited_s(), (ran_s, waited_s), strict=True))
    return Measured(
        machine=noted,
        arms=arms,
        predictions_per_s=round(answered / took_s, 1),
        generator=generator(),
        all_p99_ms=_ms(at(0.99, [one for path in _PATHS for one in times.by_path[path]])),
        scrape_p99_ms=_ms(at(0.99, times.by_path[_SCRAPE])),
        failed=times.failed,
        loop_ran=round(ran_s / took_s, 3),
        loop_waited=round(waited_s / took_s, 3),
        rows=[_row(path, times.by_path[path]) for path in (*_PATHS, _SCRAPE, _IDLE)],
    )


async def _asked(stage: Stage, session: aiohttp.ClientSession, seconds: float) -> Times:
    """Ask for everything while predictions are pushed, which begin a second before."""
    times = Times()
    body = body_of(MODEL, "x", 1, 1)

    async def asking(paths: tuple[str, ...], every_s: float) -> None:
        await asyncio.sleep(1.0)
        await ask(session, paths, every_s=every_s, seconds=seconds, times=times, clock=time.perf_counter)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(push(stage.grpc, body, MODEL, in_flight=_IN_FLIGHT, seconds=seconds + 2.0))
        tasks.create_task(asking(_PATHS, 0.02))
        tasks.create_task(asking((_SCRAPE,), 1.0))
        tasks.create_task(asking((_IDLE,), 0.01))
    return times


async def _answered(session: aiohttp.ClientSession) -> float:
    """Return how many predictions the gateway has answered."""
    async with session.get(_SCRAPE) as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("turpin_requests_total{"))


def _row(path: str, found: list[float]) -> Row:
    return Row(path, len(found), *(_ms(value) for value in (at(0.5, found), at(0.99, found), max(found, default=0.0))))


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 2)


def _show(measured: Measured) -> None:
    head = f"{measured.arms} arms, {measured.predictions_per_s:,.0f} predictions/s meanwhile"
    sys.stdout.write(f"{head}\n{'path':<40}{'answers':>9}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}\n")
    for row in measured.rows:
        sys.stdout.write(f"{row.path:<40}{row.answers:>9}{row.p50_ms:>9.1f}{row.p99_ms:>9.1f}{row.max_ms:>9.1f}\n")
    sys.stdout.write(
        f"the loop of the control process ran {measured.loop_ran:.0%} of the time, and waited {measured.loop_waited:.0%} "
        "for a processor\n"
    )
    words = "kept" if measured.is_kept else "MISSED"
    sys.stdout.write(
        f"p99 of all routes {measured.all_p99_ms:.1f} ms, of a scrape {measured.scrape_p99_ms:.1f} ms, "
        f"{measured.failed} not answered; both below {_P99_MAX_S * 1e3:.0f} ms: {words}\n"
    )


if __name__ == "__main__":
    typer.run(main)
