"""`turpin demo`: the main job on real models and real images, watched. Importing this module must stay cheap."""

from pathlib import Path
from typing import Annotated

import typer

_BAD_INPUT = 2

EXAMPLE = "Example: turpin demo --scenario price"

Scenario = Annotated[str, typer.Option("--scenario", help="Which story: main, deploy, price, rollback or sick.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the result's JSON object to this file, too.")]
Keep = Annotated[bool, typer.Option("--keep", help="Leave everything running afterwards, until Ctrl-C.")]
PortBase = Annotated[
    int,
    typer.Option(
        "--port-base",
        help="First of five ports: gateway gRPC, HTTP, admin; model server gRPC, REST; two more for a second server.",
    ),
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
    """Train models, let them compete for real traffic, and retire the losers; or tell another story of their life.

    deploy: a new version is uploaded, loaded, warmed, and earns its traffic. price: traffic follows the prices of two
    clouds, and leaves one that dies. rollback: the winner is taken back, and the loser serves again. sick: an arm falls
    ill, is left alone, and comes back when it is well. Each takes a minute or two on two cores.
    """
    from load.demo.plan import Folder, Options, Ports
    from load.scenarios.stories import NAMES, TWO_CLOUDS

    if scenario != "main" and scenario not in NAMES:
        raise _bad_input(f"--scenario must be main, {' or '.join(NAMES)}, got {scenario!r}")
    try:
        options = Options(
            ports=Ports(port_base, model_servers=2 if scenario in TWO_CLOUDS else 1),
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
        from load.demo import run as main_demo
        from load.scenarios import run as stories
    except ImportError as error:
        raise _bad_input(f"{error.name} is missing: pip install 'turpin[local]'") from error
    raise typer.Exit(main_demo.main(options) if scenario == "main" else stories.main(options, scenario))


def _bad_input(message: str) -> typer.Exit:
    typer.echo(f"turpin demo: {message}", err=True)
    return typer.Exit(_BAD_INPUT)
