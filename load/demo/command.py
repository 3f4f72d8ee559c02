"""`turpin demo`: the main job on real models and real images, watched. Importing this module must stay cheap."""

from pathlib import Path
from typing import Annotated

import typer

_BAD_INPUT = 2

Scenario = Annotated[str, typer.Option("--scenario", help="Which story: main is the only one so far.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the result's JSON object to this file, too.")]
Keep = Annotated[bool, typer.Option("--keep", help="Leave everything running afterwards, until Ctrl-C.")]
PortBase = Annotated[
    int, typer.Option("--port-base", help="First of five ports: gateway gRPC, HTTP, admin; model server gRPC, REST.")
]
Seed = Annotated[int, typer.Option("--seed", help="Of the split, the training and the order of the images.")]
Rate = Annotated[float, typer.Option("--rate", help="Requests a second; 0: as fast as it goes.")]
MaxSeconds = Annotated[float, typer.Option("--max-seconds", help="Give up after this long, training included.")]
Output = Annotated[
    Path, typer.Option("--output", help="Folder for models, logs and results; a demo's own is emptied before.")
]


def app(
    scenario: Scenario = "main",
    json: Json = None,
    keep: Keep = False,
    port_base: PortBase = 8500,
    seed: Seed = 0,
    # So that a person can watch; two cores bear several times as much.
    rate: Rate = 300.0,
    # Twice what it takes on two cores.
    max_seconds: MaxSeconds = 240.0,
    output: Output = Path("demo-output"),
) -> None:
    """Train three models, let them compete for real traffic, and retire the losers: two minutes on two cores."""
    if scenario != "main":
        raise _bad_input(f"--scenario must be main (the only one in this version), got {scenario!r}")
    from load.demo.plan import Folder, Options, Ports

    try:
        options = Options(
            ports=Ports(port_base),
            folder=Folder(output),
            seed=seed,
            rate=rate,
            max_seconds=max_seconds,
            is_kept=keep,
            json_path=json,
        )
    except ValueError as error:
        raise _bad_input(str(error)) from error
    try:
        from load.demo.run import main
    except ImportError as error:
        raise _bad_input(f"{error.name} is missing: pip install 'turpin[local]'") from error
    raise typer.Exit(main(options))


def _bad_input(message: str) -> typer.Exit:
    typer.echo(f"turpin demo: {message}", err=True)
    return typer.Exit(_BAD_INPUT)
