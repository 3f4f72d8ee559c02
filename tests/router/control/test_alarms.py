"""What the alarms are asked: complete sums only, and only questions that the experiment can be asked."""

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from bandits.health import Alarm
from bandits.sample_ratio import LAMBDAS, log_moments
from bandits.sums import STEPS, Sums
from bandits.weights import cumulative, to_parts
from router.config.experiment_sections import Guardrail
from router.control.alarms import alarms_of
from router.control.dossier import Dossier
from router.ledger import Ledger
from router.store import FIELDS
from serving.cost import Line
from tests.router.control.world import EPOCH, START, Cells, World, counted, seeded, spec

BLOCK_S = 60.0
PARTS = to_parts([0.5, 0.5])


def dossier(blocks: int = 8) -> Dossier:
    """Two arms; blocks of a minute, the last of them open; a window of 10 s."""
    made = seeded(spec(arms=2))
    return made.with_changes(block_starts=tuple(START + BLOCK_S * block for block in range(blocks)))


def drawn(*counts: tuple[int, int, int]) -> Cells:
    """What a worker's flush brings of (block, draws of v1, draws of v2), all of them answered."""
    ledger = Ledger()
    for block, *per_arm in counts:
        for arm, count in enumerate(per_arm):
            for _ in range(count):
                ledger.assign(EPOCH, block, cumulative(PARTS), arm)
    cells: Cells = {}
    for cell, fields in ledger.parcel().deltas.items():
        cells[cell.arm, cell.block] = dict.fromkeys(FIELDS, 0) | dict(fields)
    for (_, block), found in cells.items():
        if block >= 0:
            found["decisions"] = found["assigned"]
    return cells


def rewarded(cells: Cells, share: float, of_v2: float, rate: float = 0.5) -> Cells:
    """Report these shares of each arm's decisions."""
    for (arm, block), cell in cells.items():
        if block >= 0:
            cell["rewards"] = round(cell["decisions"] * (of_v2 if arm else share))
            cell["reward_q"] = round(cell["rewards"] * rate) * STEPS
            cell["reward_q2"] = round(cell["rewards"] * rate) * STEPS**2
    return cells


def found(of: Dossier, cells: Cells, now: float = START + 8 * BLOCK_S) -> dict[str, Alarm]:
    sums = Sums.from_cells({place: cell for place, cell in cells.items() if place[1] > 0}, 2)
    alarms = alarms_of(of, counted(cells, 2), sums, now)
    assert len(alarms) == len({(alarm.name, alarm.words) for alarm in alarms})
    return {alarm.name: alarm for alarm in alarms}


def test_healthy_experiment_rings_nothing_and_is_asked_all_that_can_be_asked() -> None:
    alarms = found(dossier(), rewarded(drawn(*((block, 200, 200) for block in range(1, 9))), 0.9, 0.9))

    assert set(alarms) == {"sample_ratio", "reporting_rate", "heterogeneity"}
    assert not any(alarm.is_ringing for alarm in alarms.values())


def test_draws_that_their_weights_did_not_promise_ring() -> None:
    alarm = found(dossier(), drawn((1, 1100, 900), (2, 1100, 900)))["sample_ratio"]

    assert alarm.is_ringing
    assert alarm.words in {
        "arm v1 was drawn 2200 times, its weights promise 2000",
        "arm v2 was drawn 1800 times, its weights promise 2000",
    }


def test_requests_that_were_drawn_and_never_ended_ring_once_none_can_be_on_its_way() -> None:
    cells = drawn((1, 1000, 1000))
    cells[1, 1]["decisions"] = 700
    cells[1, 1]["errors"] = cells[1, 1]["cancelled"] = 20

    soon = found(dossier(), cells, START + 2 * BLOCK_S)["sample_ratio"]
    later = found(dossier(), cells, START + 2 * BLOCK_S + 600)["sample_ratio"]

    assert (soon.is_ringing, later.is_ringing) == (False, True)
    assert later.words == "arm v2 was drawn 740 times, its weights promise 1000"


def test_all_ends_of_a_request_are_ends() -> None:
    cells = drawn((1, 1000, 1000))
    cells[1, 1] |= {"decisions": 500, "errors": 300, "cancelled": 200}

    assert found(dossier(), cells, START + 10_000)["sample_ratio"].log_e < 1.0


def test_lost_rewards_ring_when_the_window_has_passed() -> None:
    cells = rewarded(drawn((1, 500, 500), (2, 500, 500)), 0.9, 0.6)

    early = found(dossier(), cells, START + BLOCK_S + 9.0)["reporting_rate"]
    later = found(dossier(), cells, START + BLOCK_S + 10.0)["reporting_rate"]

    assert (early.log_e, later.is_ringing) == (0.0, True)
    # The second block's are not counted yet.
    assert later.words == "rewards came back for 60.0% of arm v2's decisions, for 90.0% of the others'"


def test_open_block_is_never_complete() -> None:
    cells = rewarded(drawn((1, 500, 500)), 0.9, 0.6)

    assert found(dossier(blocks=1), cells, START + 10_000)["reporting_rate"].log_e == 0.0


def test_advantage_that_changes_sides_rings() -> None:
    cells = rewarded(drawn(*((block, 4000, 4000) for block in range(1, 8))), 1.0, 1.0)
    for (arm, block), cell in cells.items():
        if arm and block > 0:
            wins = round(cell["rewards"] * (0.5 + 0.2 * (-1) ** block))
            cell["reward_q"], cell["reward_q2"] = wins * STEPS, wins * STEPS**2

    assert found(dossier(), cells, START + 10_000)["heterogeneity"].arm == "v2"


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({"policy": {"sticky": True}}, {"heterogeneity"}),
        ({"objective": {"reward": {"feedback": "conversions"}}}, {"sample_ratio", "heterogeneity"}),
        ({"mode": "always_on"}, {"sample_ratio", "reporting_rate"}),
    ],
    ids=["sticky", "conversions", "always_on"],
)
def test_question_that_can_not_be_answered_is_not_asked(changes: dict[str, Any], asked: set[str]) -> None:
    made = dossier()
    sections = {
        section: getattr(made.spec, section).model_copy(update=values) if isinstance(values, dict) else values
        for section, values in changes.items()
        if section != "objective"
    }
    if "objective" in changes:
        reward = made.spec.objective.reward.model_copy(update=changes["objective"]["reward"])
        sections["objective"] = made.spec.objective.model_copy(update={"reward": reward})
    made = msgspec.structs.replace(made, spec=made.spec.model_copy(update=sections))

    assert set(found(made, rewarded(drawn((1, 9, 9)), 1.0, 1.0))) == asked


def test_experiment_without_any_block_rings_nothing() -> None:
    alarms = alarms_of(dossier(blocks=0), counted({}, 2), Sums.empty(2), START)

    assert [(alarm.log_e, alarm.is_ringing) for alarm in alarms] == [(0.0, False)] * 3


def test_cells_of_an_older_version_and_blocks_nobody_opened_ring_nothing() -> None:
    cells: Cells = {(0, 1): {"decisions": 500}, (1, 1): {"decisions": 5}, (0, 0): {"unlearned_decisions": 9}}
    cells |= {(1, 99): {"assigned": 0, "decisions": 7}}

    alarms = alarms_of(dossier(), counted(cells, 2), Sums.empty(2), START + 10_000)

    assert not any(alarm.is_ringing for alarm in alarms)


def test_moments_are_read_from_the_cells_in_which_workers_put_them() -> None:
    cells = drawn((1, 3, 5))

    alarm = found(dossier(), cells)["sample_ratio"]

    moments = np.array(log_moments(PARTS), np.float64) / 2**60 * 8
    wanted = np.log(np.exp(np.array([[3], [5]]) * np.array(LAMBDAS) - moments).mean())
    assert alarm.log_e == pytest.approx(wanted, abs=1e-4)
    assert math.isfinite(alarm.log_e)


def test_while_an_alarm_rings_nothing_ends_and_the_state_says_why() -> None:
    world = World(spec(arms=2), [0.5, 0.9], [Line(0.001, 0.0), Line(0.001, 0.0)])
    world.run(lambda world: world.phase == "running")
    for _ in range(90):
        # Of v1's rewards every third is lost on its way.
        for (arm, _), cell in world.cells.items():
            if arm == 0 and cell["rewards"] > 2 * cell["decisions"] / 3:
                cell["rewards"] = cell["rewards"] * 2 // 3
                cell["reward_q"] = cell["reward_q"] // STEPS * 2 // 3 * STEPS
                cell["reward_q2"] = cell["reward_q"] * STEPS
        world.tick()

    view = world.view()
    assert world.phase == "running"
    assert [(alarm["name"], alarm["arm"]) for alarm in view["alarms"]] == [("reporting_rate", "v1")]
    assert f"alarm: {view['alarms'][0]['words']}" in view["not_ready"]
    assert view["alarms"][0]["evidence_log"] >= view["alarms"][0]["bar_log"]


def test_without_an_alarm_the_same_experiment_ends() -> None:
    world = World(spec(arms=2), [0.5, 0.9], [Line(0.001, 0.0), Line(0.001, 0.0)])

    world.run(lambda world: world.phase == "concluded", most_s=120)

    assert world.view()["alarms"] == []


def test_workers_are_told_the_bound_of_a_slow_call() -> None:
    wanted = spec(arms=2).model_copy(update={"guardrails": (Guardrail(metric="backend_p99_ms", max=80),)})

    assert World(wanted, [0.5, 0.9], [Line(0.001, 0.0)] * 2).tick().snapshot.call_max_s == 0.08
