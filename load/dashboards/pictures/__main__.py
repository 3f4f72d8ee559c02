"""`make pictures`: draws the dashboards of a demo into docs/, from what a real Prometheus saw of it; three minutes.

The main story, slowed down, is what an experiment looks like; that of two clouds, of which one dies, what a gateway and
money do.
Exit code 1 when a panel has nothing to show.
"""

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from load.dashboards import experiment, gateway, money
from load.dashboards.panel import Dashboard
from load.dashboards.pictures.drawing import draw
from load.dashboards.pictures.prometheus import NoPrometheus, Prometheus, running
from load.dashboards.pictures.seen import Line, Seen, asked, empty, lines
from load.demo import processes
from load.demo.processes import ChildFailed

_ROOT = Path(__file__).parents[3]
# As often as the learner changes anything. Rates are over four scrapes, as Grafana's own interval is at this resolution.
_EVERY_S: Final = 1.0
_INTERVAL: Final = "4s"
# Training takes half of it on a busy machine.
_STORY_S: Final = 400.0
_EXIT_FAILED: Final = 1


class Told(msgspec.Struct, frozen=True):
    """One story with its options, what it is in words, and the dashboards that show it."""

    scenario: str
    options: tuple[str, ...]
    words: str
    dashboards: tuple[Dashboard, ...]


STORIES: Final = (
    Told(
        "main",
        ("--rate=100",),
        "turpin demo: three versions compete at 100 requests/s until two are unloaded.",
        (experiment.DASHBOARD,),
    ),
    Told(
        "price",
        (),
        "turpin demo --scenario price: two clouds; the price flips, then the cheap cloud dies.",
        (gateway.DASHBOARD, money.DASHBOARD),
    ),
)

Output = Annotated[Path, typer.Option("--output", help="Folder for the pictures.")]
Kept = Annotated[Path | None, typer.Option("--kept", help="Keep what was seen in this folder, or draw what is there.")]
PortBase = Annotated[int, typer.Option("--port-base", help="Seven ports in a row, from this one.")]


def main(output: Output = _ROOT / "docs" / "dashboards", kept: Kept = None, port_base: PortBase = 18800) -> None:
    """Play both stories, and draw each dashboard."""
    output.mkdir(parents=True, exist_ok=True)
    missing: list[str] = []
    for story in STORIES:
        try:
            found = _seen(story, kept, port_base)
        except (ChildFailed, NoPrometheus) as error:
            sys.stderr.write(f"{error}\n")
            raise typer.Exit(_EXIT_FAILED) from None
        for dashboard, one in zip(story.dashboards, found, strict=True):
            draw(dashboard, one, output / f"{dashboard.uid}.png")
            missing += [f"{dashboard.title}, {title}: no data" for title in empty(dashboard, one)]
    sys.stderr.write("".join(f"{line}\n" for line in missing))
    if missing:
        raise typer.Exit(_EXIT_FAILED)


def _seen(story: Told, kept: Path | None, port_base: int) -> list[Seen]:
    """Return what each of its dashboards showed: as it was kept, or of a run now."""
    file = None if kept is None else kept / f"{story.scenario}.json"
    if file is not None and file.exists():
        return msgspec.json.decode(file.read_bytes(), type=list[Seen])
    with tempfile.TemporaryDirectory(prefix="turpin-pictures-") as folder:
        found = asyncio.run(_play(story, Path(folder), port_base))
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.encode(found))
    return found


async def _play(story: Told, folder: Path, port_base: int) -> list[Seen]:
    async with running(folder, f"127.0.0.1:{port_base + 2}", _EVERY_S) as prometheus:
        command = processes.turpin(
            *("demo", f"--scenario={story.scenario}", f"--port-base={port_base}", f"--max-seconds={_STORY_S:g}"),
            f"--output={folder / 'demo'}",
            *story.options,
        )
        child = await processes.start(f"turpin demo, {story.scenario}", command, folder / "demo.log")
        try:
            async with asyncio.timeout(_STORY_S + 60.0):
                status = await child.process.wait()
        finally:
            await processes.end(child)
        if status != 0:
            raise child.failure(f"ended with {status}")
        return [await _of(dashboard, story.words, prometheus) for dashboard in story.dashboards]


async def _of(dashboard: Dashboard, words: str, prometheus: Prometheus) -> Seen:
    """Ask for every query of a dashboard, from the first request on until the last scrape."""
    from router.clock import unix_now

    now = unix_now()
    traffic = await prometheus.range("sum(turpin_requests_total) > 0", now - _STORY_S, now, _EVERY_S)
    moments = [float(at) for series in traffic for at, _ in series["values"]]
    began, ended = (min(moments), max(moments)) if moments else (now - 1.0, now)
    panels: list[list[list[Line]]] = []
    for panel in dashboard.panels:
        panels.append([])
        for query in panel.queries:
            result = await prometheus.range(asked(query, _INTERVAL), began, ended, _EVERY_S)
            panels[-1].append(lines(query, result, began))
    return Seen(words, ended - began, panels)


def names(stories: Sequence[Told] = STORIES) -> list[str]:
    """Return the files that are drawn."""
    return [f"{dashboard.uid}.png" for story in stories for dashboard in story.dashboards]


if __name__ == "__main__":
    typer.run(main)
