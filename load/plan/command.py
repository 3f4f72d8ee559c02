"""`turpin plan`: how long an experiment will take, and what it will cost. Importing this module must stay cheap."""

import json
import math
import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from load.plan.outlook import Outlook
    from router.config.experiment import Experiment

_BAD_INPUT = 2

EXAMPLE = "Example: turpin plan --rates 0.05,0.06 --per-day 100000"

File = Annotated[
    str | None,
    typer.Argument(metavar="[EXPERIMENT.yaml]", help="An experiment's file: its arms, worth and rules; - is stdin."),
]
PerDay = Annotated[float, typer.Option("--per-day", help="Requests a day.")]
Rates = Annotated[
    str, typer.Option("--rates", help="What share of each arm's requests is rewarded, such as 0.05,0.06.")
]
Uplift = Annotated[
    float,
    typer.Option("--uplift", help="With a file and no --rates: the last arm's reward is so much above the others'."),
]
Costs = Annotated[str, typer.Option("--costs", help="Dollars per prediction of each arm; none given: all alike.")]
Value = Annotated[
    float | None, typer.Option("--value-usd", help="What a reward of 1 is worth, in dollars.  [default: 1]")
]
CycleDays = Annotated[
    float | None, typer.Option("--cycle-days", help="The rhythm to be seen whole; 0: none.  [default: 1]")
]
MaxDays = Annotated[float | None, typer.Option("--max-days", help="When the experiment ends undecided.  [default: 14]")]
Runs = Annotated[int, typer.Option("--runs", min=1, max=10_000, help="How often it is played.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same plan.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON instead of words.")]


def app(
    per_day: PerDay,
    experiment: File = None,
    rates: Rates = "",
    uplift: Uplift = 0.1,
    costs: Costs = "",
    value_usd: Value = None,
    cycle_days: CycleDays = None,
    max_days: MaxDays = None,
    # A median of twelve is within a fifth of that of hundreds.
    runs: Runs = 12,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Say how long an experiment will take and what it will cost, and whether it can be decided at all."""
    from load.simulate.command import one_thread_each

    one_thread_each()
    for name, number, least in (
        ("--per-day", per_day, 0.0),
        ("--value-usd", value_usd, 0.0),
        ("--max-days", max_days, 0.0),
        ("--cycle-days", cycle_days, None),
        ("--uplift", uplift, -1.0),
    ):
        _check_number(name, number, least)
    from load.plan.estimate import answer
    from load.plan.words import sentences
    from load.simulate.pool import Task, results
    from load.simulate.production import experiment_of
    from router.config.document import BadInput

    given = {"value_usd": value_usd, "cycle_days": cycle_days, "max_days": max_days}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    try:
        outlook = _outlook(experiment, per_day, _numbers("--rates", rates), uplift, _numbers("--costs", costs), changes)
        world = outlook.world()
        experiment_of(world)
    except BadInput as error:
        _leave(*map(str, error.problems))
    found = [result for _, result in results([Task(world, seed, number) for number in range(runs)], "planning")]
    plan = answer(outlook, found)
    if as_json:
        sys.stdout.write(json.dumps(plan, allow_nan=False) + "\n")
        return
    for sentence in sentences(plan):
        sys.stdout.write(sentence + "\n")


def _outlook(
    path: str | None,
    per_day: float,
    rates: tuple[float, ...],
    uplift: float,
    costs: tuple[float, ...],
    changes: dict[str, Any],
) -> "Outlook":
    from dataclasses import replace

    from load.plan.outlook import Outlook, outlook_of

    if path is None:
        if not rates:
            _leave(
                "--rates must say what each arm's requests earn, such as 0.05,0.06, or an experiment's file be given"
            )
        return Outlook(rates, _paid(costs, len(rates)), changes.pop("value_usd", 1.0), per_day, **changes)
    found = _read(path)
    arms = len(found.arms)
    if rates and len(rates) != arms:
        _leave(f"--rates must have a rate for each of the {arms} arms in {path}, got {len(rates)}")
    base = found.policy.prior.mean
    expected = rates or (base,) * (arms - 1) + (base * (1 + uplift),)
    return replace(outlook_of(found, expected, _paid(costs, arms), per_day), **changes)


def _read(path: str) -> "Experiment":
    from router.config.document import BadInput, Problem, read_text, read_yaml, validate
    from router.config.experiment import Experiment

    given = read_yaml(read_text(path))
    if isinstance(given, dict) and "backends" in given:
        listed = given.get("experiments")
        inside = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        if len(inside) != 1:
            message = f"is a gateway's configuration with {len(inside)} experiments written in it; give one's own file"
            raise BadInput([Problem((), message)])
        [given] = inside
    return validate(Experiment, given)


def _check_number(name: str, number: float | None, least: float | None) -> None:
    if number is None:
        return
    if not math.isfinite(number) or (number < 0 if least is None else number <= least):
        bound = "at least 0" if least is None else f"above {least:g}"
        _leave(f"{name} must be a finite number {bound}, got {number:g}")


def _paid(costs: tuple[float, ...], arms: int) -> tuple[float, ...]:
    if costs and len(costs) != arms:
        _leave(f"--costs must have a cost for each of the {arms} arms, got {len(costs)}")
    return costs or (0.0,) * arms


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        _leave(f"{name} must be numbers with commas between, such as 0.05,0.06; got '{text}'")


def _leave(*messages: str) -> NoReturn:
    for message in messages:
        sys.stderr.write(f"turpin plan: {message}\n")
    raise typer.Exit(_BAD_INPUT)
