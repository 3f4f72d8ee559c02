"""`turpin load`: requests at a rate, and how long they took. Importing this module must stay cheap."""

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from load.generate.phases import BadScenario, Phase, parse

if TYPE_CHECKING:
    from load.generate.run import Tally
    from load.generate.sender import Sender

_FAILED = 1
_BAD_INPUT = 2

EXAMPLE = "Example: turpin load 127.0.0.1:8500 --model digits --rate 200"

Target = Annotated[str, typer.Argument(metavar="HOST:PORT", help="A gateway, or a model server.")]
Model = Annotated[str, typer.Option("--model", help="The model's name.")]
Rate = Annotated[float, typer.Option("--rate", help="Requests a second, at random times, whatever becomes of them.")]
InFlight = Annotated[
    int, typer.Option("--in-flight", min=0, help="Instead of a rate: so many requests are under way at all times.")
]
Seconds = Annotated[float, typer.Option("--seconds", min=0.1, help="How long, after the warm-up.")]
WarmUp = Annotated[float, typer.Option("--warm-up", min=0.0, help="Seconds before anything is counted.")]
Protocol = Annotated[str, typer.Option("--protocol", help="grpc or rest.")]
Input = Annotated[str, typer.Option("--input", help="The input's name (gRPC).")]
Rows = Annotated[int, typer.Option("--rows", min=1, help="Rows of each request.")]
Width = Annotated[int, typer.Option("--width", min=1, help="Numbers in a row.")]
TimeoutMs = Annotated[float, typer.Option("--timeout-ms", min=1.0, help="Each request's deadline.")]
Connections = Annotated[int, typer.Option("--connections", min=1, max=1_000, help="Clients, each with a channel.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed sends at the same times.")]
Scenario = Annotated[
    Path | None,
    typer.Option(
        "--scenario", help="A file of YAML with phases, instead of --rate, --in-flight, --seconds, --warm-up."
    ),
]
Plot = Annotated[Path | None, typer.Option("--plot", help="Draw how long requests took into this file, as SVG.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON to stdout instead of words.")]


def app(
    target: Target,
    model: Model,
    rate: Rate = 100.0,
    in_flight: InFlight = 0,
    seconds: Seconds = 10.0,
    warm_up: WarmUp = 1.0,
    protocol: Protocol = "grpc",
    input_name: Input = "x",
    rows: Rows = 1,
    width: Width = 1,
    timeout_ms: TimeoutMs = 30_000.0,
    connections: Connections = 1,
    seed: Seed = 0,
    scenario: Scenario = None,
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """Send Predict requests at a rate, and say how long they took from when each was meant to be sent."""
    if protocol not in ("grpc", "rest"):
        sys.stderr.write(f"turpin load: --protocol must be grpc or rest, got {protocol}\n")
        raise typer.Exit(_BAD_INPUT)
    try:
        phases = _phases(scenario, rate, in_flight, seconds, warm_up)
    except BadScenario as error:
        sys.stderr.write(f"turpin load: {error}\n")
        raise typer.Exit(_BAD_INPUT) from None
    from load.generate.sender import GrpcSender, RestSender, body_of

    def sender() -> "Sender":
        if protocol == "rest":
            return RestSender(target, model, rows, width, timeout_ms / 1e3)
        return GrpcSender(target, body_of(model, input_name, rows, width), timeout_ms / 1e3)

    async def run() -> "list[Tally]":
        from load.generate.sender import Many

        async with Many([sender() for _ in range(connections)]) as many:
            return [await _run(many.send, phase, seed + number) for number, phase in enumerate(phases)]

    import uvloop

    tallies = uvloop.run(run())
    about = {"target": target, "protocol": protocol, "rows": rows}
    _write(about, list(zip(phases, tallies, strict=True)), plot, has_phases=scenario is not None, as_json=as_json)
    raise typer.Exit(0 if any(tally.outcomes["ok"] for tally in tallies) else _FAILED)


def _write(
    about: dict[str, Any], found: "list[tuple[Phase, Tally]]", plot: Path | None, *, has_phases: bool, as_json: bool
) -> None:
    """Say what was found, and draw it."""
    from load.generate.machine import machine
    from load.generate.plot import draw

    reports = [{"name": phase.name, **phase.asked, **tally.report()} for phase, tally in found]
    if as_json:
        # Without a file there is one phase, and no need to name it.
        only = {key: value for key, value in reports[0].items() if key != "name"}
        report = {**about, "machine": machine(), **({"phases": reports} if has_phases else only)}
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        for one in reports:
            sys.stdout.write((f"{one['name']}:\n" if has_phases else "") + _words(one))
    if plot is not None:
        try:
            plot.write_text(draw([(phase.name, tally.latencies.curve()) for phase, tally in found]))
        except OSError as error:
            sys.stderr.write(f"turpin load: no picture: {error}\n")


def _phases(scenario: Path | None, rate: float, in_flight: int, seconds: float, warm_up: float) -> "tuple[Phase, ...]":
    if scenario is not None:
        from router.config.document import BadInput, read_text

        try:
            return parse(read_text(str(scenario)))
        except BadInput as error:
            raise BadScenario(str(error)) from error
    if not in_flight and rate <= 0:
        raise BadScenario(f"--rate must be positive, got {rate:g}")
    return (Phase("load", seconds, 0.0 if in_flight else rate, in_flight, warm_up),)


async def _run(send: Any, phase: Phase, seed: int) -> "Tally":
    import random
    import time

    from rich.console import Console
    from rich.progress import Progress

    from load.generate.run import closed_loop, open_loop, poisson

    # More requests under way than this are no load any more but a leak of the generator.
    in_flight_max = 20_000
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(f"sending {phase.name}", total=phase.warm_up + phase.seconds)
        if not phase.in_flight:
            times = poisson(phase.rate, phase.warm_up + phase.seconds, random.Random(seed))
            return await open_loop(
                send,
                times,
                in_flight_max=in_flight_max,
                warm_up_s=phase.warm_up,
                on_sent=lambda at: progress.update(bar, completed=at),
                clock=time.perf_counter,
            )
        async with asyncio.TaskGroup() as tasks:
            ticking = tasks.create_task(_tick(progress, bar))
            tally = await closed_loop(
                send, in_flight=phase.in_flight, seconds=phase.seconds, warm_up_s=phase.warm_up, clock=time.perf_counter
            )
            ticking.cancel()
        return tally


async def _tick(progress: Any, bar: Any) -> None:
    while True:
        await asyncio.sleep(0.1)
        progress.advance(bar, 0.1)


def _words(report: dict[str, Any]) -> str:
    """Say it for people."""
    latency = report["latency_ms"]
    failed = ", ".join(f"{count:,} {name}" for name, count in report["failed"].items()) or "none"
    lines = [
        f"{report['answered']:,} of {report['sent']:,} answered, {report['answered_per_s']:,} a second; failed: {failed}",
        "latency ms: " + ", ".join(f"{name} {latency[name]:g}" for name in ("p50", "p90", "p99", "p99.9", "max")),
    ]
    if report["unsent"]:
        lines.append(f"{report['unsent']:,} were not sent, since too many were under way")
    if report["behind_ms"] > 10:
        lines.append(f"the generator was up to {report['behind_ms']:g} ms late: a faster machine would say more")
    return "\n".join(lines) + "\n"
