"""`turpin load`: requests at a rate, and how long they took. Importing this module must stay cheap."""

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from load.generate.run import Tally
    from load.generate.sender import Sender

_FAILED = 1
_BAD_INPUT = 2

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
    as_json: AsJson = False,
) -> None:
    """Send Predict requests at a rate, and say how long they took from when each was meant to be sent."""
    if protocol not in ("grpc", "rest"):
        sys.stderr.write(f"turpin load: --protocol must be grpc or rest, got {protocol}\n")
        raise typer.Exit(_BAD_INPUT)
    if not in_flight and rate <= 0:
        sys.stderr.write(f"turpin load: --rate must be positive, got {rate:g}\n")
        raise typer.Exit(_BAD_INPUT)
    from load.generate.sender import GrpcSender, RestSender, body_of

    def sender() -> "Sender":
        if protocol == "rest":
            return RestSender(target, model, rows, width, timeout_ms / 1e3)
        return GrpcSender(target, body_of(model, input_name, rows, width), timeout_ms / 1e3)

    async def run() -> "Tally":
        from load.generate.sender import Many

        async with Many([sender() for _ in range(connections)]) as many:
            return await _run(many.send, rate, in_flight, seconds, warm_up, seed)

    import uvloop

    tally = uvloop.run(run())
    report = {"target": target, "protocol": protocol, "rows": rows, **_asked(rate, in_flight), **tally.report()}
    if as_json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        sys.stdout.write(_words(report))
    raise typer.Exit(0 if report["answered"] else _FAILED)


async def _run(send: Any, rate: float, in_flight: int, seconds: float, warm_up: float, seed: int) -> "Tally":
    import random
    import time

    from rich.console import Console
    from rich.progress import Progress

    from load.generate.run import closed_loop, open_loop, poisson

    # More requests under way than this are no load any more but a leak of the generator.
    in_flight_max = 20_000
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("sending", total=warm_up + seconds)
        if not in_flight:
            times = poisson(rate, warm_up + seconds, random.Random(seed))
            return await open_loop(
                send,
                times,
                in_flight_max=in_flight_max,
                warm_up_s=warm_up,
                on_sent=lambda at: progress.update(bar, completed=at),
                clock=time.perf_counter,
            )
        async with asyncio.TaskGroup() as tasks:
            ticking = tasks.create_task(_tick(progress, bar))
            tally = await closed_loop(
                send, in_flight=in_flight, seconds=seconds, warm_up_s=warm_up, clock=time.perf_counter
            )
            ticking.cancel()
        return tally


async def _tick(progress: Any, bar: Any) -> None:
    while True:
        await asyncio.sleep(0.1)
        progress.advance(bar, 0.1)


def _asked(rate: float, in_flight: int) -> dict[str, Any]:
    return {"in_flight": in_flight} if in_flight else {"rate": rate}


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
