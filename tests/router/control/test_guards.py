"""A sick arm loses its traffic and nothing else, rests, is tried, and comes back with a clean record."""

from typing import Any

import msgspec
import pytest

from bandits.life import ArmFailed, ArmWarmed, Try
from router.config.document import validate
from router.config.experiment import Experiment
from router.control.guards import call_max_s, sick
from router.heartbeat import ArmBeat, ExperimentBeat
from router.store import FIELDS
from serving.cost import Line
from tests.router.control.world import START, World, counted, seeded, spec

LINES = [Line(0.001, 0.0)] * 3


def running(*guardrails: dict[str, Any]) -> World:
    """Three arms that earn alike, and nothing ends by itself."""
    wanted = spec(stop={"min_per_arm": 10**9}).model_dump(mode="json") | {"guardrails": list(guardrails)}
    world = World(validate(Experiment, wanted), [0.9, 0.9, 0.9], LINES)
    world.run(lambda world: world.phase == "running")
    return world


def calls(world: World, arm: int, *, calls: int, failed: int = 0, slow: int = 0) -> None:
    """Let workers count calls of an arm, in the open block."""
    cell = open_cell(world, arm)
    for name, count in (("calls", calls), ("failed_calls", failed), ("slow_calls", slow)):
        cell[name] += count


def open_cell(world: World, arm: int) -> dict[str, int]:
    """The arm's sums in the open block."""
    return world.cells.setdefault((arm, world.dossier.document.block), dict.fromkeys(FIELDS, 0))


def test_call_is_slow_beyond_the_bound() -> None:
    assert call_max_s(running({"metric": "backend_p99_ms", "max": 80}).dossier.spec) == 0.08
    assert call_max_s(running({"metric": "error_ratio", "max": 0.01}).dossier.spec) is None


@pytest.mark.parametrize(
    ("metric", "most", "counts", "words"),
    [
        ("error_ratio", 0.01, {"failed": 9}, "error_ratio of arm v2: 9 of 100 calls, 9.000%, 1.000% may be"),
        ("backend_p99_ms", 80, {"slow": 9}, "backend_p99_ms of arm v2: 9 of 100 calls, 9.000%, 1.000% may be"),
    ],
)
def test_arm_over_its_bound_is_quarantined_with_cause_and_numbers(
    metric: str, most: float, counts: dict[str, int], words: str
) -> None:
    world = running({"metric": metric, "max": most})
    calls(world, 1, calls=100, **counts)
    calls(world, 2, calls=100, failed=1, slow=1)

    notes = [note for note in world.tick().notes if note.what == "v2"]

    assert world.states() == ["eligible", "quarantined", "eligible"]
    assert [arm.parts > 0 for arm in world.published[-1].arms] == [True, False, True]
    assert [(note.before, note.after, note.why) for note in notes] == [("eligible", "quarantined", words)]
    assert notes[0].numbers["evidence_log"] >= notes[0].numbers["evidence_bar_log"]
    arm = world.view()["arms"][1]
    assert (arm["state"], arm["reason"]) == ("quarantined", words)
    assert arm["quarantine"] == {"rests": 1, "next_try_at": world.now + 30.0, "is_trying": False}


def test_sick_arm_keeps_its_statistics_and_is_not_held_to_its_past_when_it_is_back() -> None:
    world = running({"metric": "error_ratio", "max": 0.01})
    world.tick()
    before = world.view()["arms"][1]["rewards"]
    calls(world, 1, calls=100, failed=50)
    world.tick()
    world.run(lambda world: world.dossier.life.arms[1].is_trying, most_s=31)
    world.tick(ArmWarmed(world.now, 1))

    for _ in range(5):
        world.tick()
    assert world.states()[1] == "eligible"
    assert world.view()["arms"][1]["rewards"] > before
    assert world.view()["arms"][1]["quarantine"] is None
    # Of the calls since then two of two are evidence enough; fifty of a hundred before would have been too.
    calls(world, 1, calls=2, failed=2)
    world.tick()
    assert world.states()[1] == "quarantined"


def test_money_over_the_day_quarantines_until_the_day_is_over() -> None:
    world = running({"metric": "cost_usd_per_day", "max": 10})
    world.tick()
    open_cell(world, 1)["cost_pico_usd"] = 11 * 10**12

    world.tick()
    assert world.states()[1] == "quarantined"
    assert world.view()["arms"][1]["reason"] == "cost_usd_per_day of arm v2: $11 in the last 24 h, $10 may be"
    for _ in range(40):
        assert Try(1) not in world.tick().commands
    assert world.dossier.life.arms[1].rests == 2
    world.now += 86_400.0
    for _ in range(2):
        world.tick()
    assert world.refreshed is not None
    assert Try(1) in world.refreshed.commands


def test_arm_that_was_not_reached_ten_times_in_a_row_is_quarantined_without_evidence() -> None:
    world = running()
    beats = [ExperimentBeat(1, (ArmBeat(0), ArmBeat(0, unreached_in_a_row=count), ArmBeat(0))) for count in (3, 10)]

    found = sick(world.dossier, world.dossier.life, counted({}, 3), beats, START)

    assert found == (
        ArmFailed(START, 1, "the backend was not reached 10 times in a row", {"unreached_in_a_row": 10.0}),
    )
    assert sick(world.dossier, world.dossier.life, counted({}, 3), beats[:1], START) == ()


def test_arm_without_traffic_is_not_asked() -> None:
    dossier = seeded(spec(arms=2))
    dead = [ExperimentBeat(1, (ArmBeat(0), ArmBeat(0, unreached_in_a_row=99)))]

    assert sick(dossier, dossier.life, counted({}, 2), dead, START) == ()


def test_nothing_is_retired_by_sickness() -> None:
    world = running({"metric": "error_ratio", "max": 0.01})
    for arm in range(3):
        calls(world, arm, calls=100, failed=90)
    world.tick()

    assert world.states() == ["quarantined"] * 3
    # Control serves.
    assert [arm.parts > 0 for arm in world.published[-1].arms] == [True, False, False]


@pytest.mark.parametrize("bound_ms", [160, 40])
def test_slow_calls_counted_by_an_earlier_bound_say_nothing_about_a_new_one(bound_ms: float) -> None:
    world = running({"metric": "backend_p99_ms", "max": 80})
    # More than one in a hundred, and short of evidence.
    calls(world, 1, calls=20, slow=1)
    world.tick()
    amended = world.dossier.spec.model_dump(mode="json") | {
        "guardrails": [{"metric": "backend_p99_ms", "max": bound_ms}]
    }
    world.dossier = msgspec.structs.replace(
        world.dossier.with_changes(spec=amended), spec=validate(Experiment, amended)
    )

    # Workers that have not heard of the new bound yet.
    for _ in range(2):
        calls(world, 1, calls=40, slow=40)
        world.tick()
    for _ in range(3):
        calls(world, 1, calls=50)
        world.tick()
    assert world.states()[1] == "eligible"
    calls(world, 1, calls=50, slow=40)
    world.tick()
    assert world.states()[1] == "quarantined"
