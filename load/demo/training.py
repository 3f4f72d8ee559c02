"""Run the training process and show how far it is."""

import asyncio
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from load.demo import processes
from load.demo.plan import PLANS, Folder, ModelPlan


@dataclass(frozen=True, slots=True)
class Trained:
    """One exported model."""

    version: int
    parameters: int
    size_bytes: int
    seconds: float


class _Said(msgspec.Struct):
    """A line of the training process: a step done, or (with `parameters`) a model finished."""

    version: int
    step: int = 0
    steps: int = 0
    accuracy: float = 0.0
    parameters: int = 0
    size_bytes: int = msgspec.field(default=0, name="bytes")
    seconds: float = 0.0


class NotOurs(Exception):
    """The output folder holds something that no demo wrote."""


def clear(folder: Folder) -> None:
    """Empty `folder` of what an earlier run left; raises NotOurs rather than touch anybody else's files."""
    root = folder.root
    if root.exists() and not root.is_dir():
        raise NotOurs(f"--output must be a folder, {root} is a file")
    if root.is_dir() and any(root.iterdir()) and not folder.marker.exists():
        raise NotOurs(f"--output must be a new or empty folder, or an earlier demo's; {root} holds other files")
    if root.is_dir():
        shutil.rmtree(root)
    folder.models.mkdir(parents=True)
    folder.marker.write_text("The next `turpin demo` into this folder empties it.\n", encoding="utf-8")


async def train(
    folder: Folder, seed: int, console: Console, limit_s: float, epochs_max: int | None = None
) -> tuple[Trained, ...]:
    """Train all models in a process of their own, showing progress; raises ChildFailed when that fails.

    `epochs_max` shortens the training, for those who need models but not good ones.
    """
    command = [sys.executable, "-m", "load.demo.train", str(folder.root), "--seed", str(seed)]
    if epochs_max is not None:
        command.append(f"--epochs-max={epochs_max}")
    return await follow(command, PLANS, folder, console, limit_s)


async def follow(
    command: Sequence[str], plans: Sequence[ModelPlan], folder: Folder, console: Console, limit_s: float
) -> tuple[Trained, ...]:
    """Run a command that trains the models of `plans`, showing progress; raises ChildFailed when that fails."""
    child = await processes.start("the training", command, folder.logs / "training.log", reads_stdout=True)
    try:
        show = _bars if console.is_terminal else _lines
        async with asyncio.timeout(limit_s):
            trained = await show(child, console, plans)
            status = await child.process.wait()
    except TimeoutError:
        raise child.failure(f"was not done after {limit_s:.0f} s") from None
    finally:
        await processes.end(child)
    if status != 0 or len(trained) != len(plans):
        raise child.failure(f"ended with {status} after {len(trained)} of {len(plans)} models")
    return trained


async def _bars(child: processes.Child, console: Console, plans: Sequence[ModelPlan]) -> tuple[Trained, ...]:
    columns = (
        TextColumn("  {task.description:<22}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bars: dict[int, TaskID] = {
            plan.version: progress.add_task(f"{plan.arm} {plan.title}", total=None, start=False, note="")
            for plan in plans
        }

        def show(said: _Said) -> None:
            bar = bars[said.version]
            progress.start_task(bar)
            if said.parameters:
                progress.update(bar, note=f"{said.parameters:>9,} parameters")
                progress.stop_task(bar)
            else:
                progress.update(bar, completed=said.step, total=said.steps, note=f"{said.accuracy:.3f} right so far")

        return await _read(child, show)


async def _lines(child: processes.Child, console: Console, plans: Sequence[ModelPlan]) -> tuple[Trained, ...]:
    def show(said: _Said) -> None:
        if said.parameters:
            plan = next(plan for plan in plans if plan.version == said.version)
            console.print(f"  {plan.arm} {plan.title}: {said.parameters:,} parameters, {said.seconds:.1f} s")

    return await _read(child, show)


async def _read(child: processes.Child, show: Callable[[_Said], None]) -> tuple[Trained, ...]:
    """Read the training's lines to their end."""
    assert child.process.stdout is not None  # noqa: S101 we asked for the pipe
    decoder = msgspec.json.Decoder(_Said)
    trained = []
    async for line in child.process.stdout:
        if not line.startswith(b"{"):
            continue  # A library's greeting.
        said = decoder.decode(line)
        show(said)
        if said.parameters:
            trained.append(Trained(said.version, said.parameters, said.size_bytes, said.seconds))
    return tuple(trained)
