"""What a refresh makes of input that should not be: each case has one result, and the next good refresh goes on."""

import math
from typing import Any

import pytest

from bandits.life import ArmFailed
from router.config.document import BadInput
from router.decisions import Mode
from router.snapshot import PARTS
from serving.cost import Line
from tests.router.control.world import World, spec

LINE = Line(0.001, 0.0002)
RATES = (0.90, 0.93, 0.92)
DAY_S, HOUR_S = 86_400.0, 3_600.0


def running(rates: tuple[float, ...] = RATES, seconds: int = 8, **more: Any) -> World:
    """An experiment that has learned for some seconds."""
    of = World(spec(), rates, (LINE,) * 3, **more)
    of.run(lambda one: one.phase == "running")
    for _ in range(seconds):
        of.tick()
    return of


def parts(of: World) -> list[int]:
    return [arm.parts for arm in of.published[-1].arms]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("reward_q", -5, "reward_q must not be negative, got -5"),
        ("rewards", -1, "rewards must not be negative, got -1"),
        ("reward_q", 2**60, "reward_q exceeds what its number of rewards could give"),
        ("reward_q", math.nan, "NaN"),
        ("decisions", math.inf, "infinity"),
    ],
)
def test_impossible_sums_are_refused_by_name_and_change_nothing(field: str, value: float, words: str) -> None:
    of = running()
    before, cell = of.dossier, of.cells[0, 1]
    good, cell[field] = cell[field], value  # type: ignore[assignment]  # what no store would hold

    with pytest.raises((ValueError, OverflowError), match=words):
        of.tick()
    assert of.dossier is before
    cell[field] = good
    assert of.tick().snapshot.mode == Mode.EXPERIMENT


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_arms_that_are_all_alike_at_the_ends_of_the_scale(rate: float) -> None:
    of = running((rate,) * 3, seconds=80)

    if rate == 0.0:
        # Without a reward nothing is ever known well enough, and everybody goes on being tried.
        assert of.phase == "running"
        assert min(parts(of)) >= PARTS // 10
        assert all("outcomes" in reason for reason in of.view()["not_ready"])
    else:
        # Nobody can beat who is always right: any of them may stay, and one does.
        assert of.phase == "concluded"
        assert sorted(parts(of)) == [0, 0, PARTS]


def test_an_arm_that_is_never_rewarded_and_one_that_always_is() -> None:
    of = running((0.0, 1.0, 0.5), seconds=80)

    assert (of.phase, of.dossier.life.winner, parts(of)) == ("concluded", 1, [0, PARTS, 0])


def test_blocks_without_rewards_wait_and_keep_the_split_equal() -> None:
    of = running(reported=0.0, seconds=60)

    assert of.phase == "running"
    assert max(parts(of)) - min(parts(of)) <= 1
    assert {"arm v1 waits for 100% of its outcomes, 10% may be", "arm v1 has 0 outcomes, 50 are needed"} <= set(
        of.view()["not_ready"]
    )


def test_one_arm_is_no_experiment() -> None:
    with pytest.raises(BadInput, match="arms: needs at least 2 entries; got 1"):
        spec(arms=1)


def test_an_arm_without_any_data_is_not_judged() -> None:
    of = running(requests=60)
    for (arm, _), cell in of.cells.items():
        if arm == 2:
            cell.update(dict.fromkeys(cell, 0))
    of.tick()

    assert of.phase == "running"
    # A third of 60 requests is fewer than the 50 outcomes that are asked for: all have equal parts again.
    assert max(parts(of)) - min(parts(of)) <= 1
    assert any(reason.startswith("arm v3 has ") for reason in of.view()["not_ready"])


def test_while_all_arms_are_in_quarantine_control_serves_and_nothing_is_concluded() -> None:
    of = running()
    of.tick(*(ArmFailed(of.now + 1.0, place, "not listed") for place in range(3)))

    for _ in range(60):
        of.tick()
        assert parts(of) == [PARTS, 0, 0]
        assert of.phase == "running"
    assert of.states() == ["quarantined"] * 3


def test_the_only_arm_that_is_well_wins_nothing_by_it() -> None:
    of = running()
    of.tick(*(ArmFailed(of.now + 1.0, place, "not listed") for place in (0, 2)))

    for _ in range(60):
        of.tick()
        assert parts(of) == [0, PARTS, 0]
        assert of.phase == "running"


def test_a_clock_that_is_set_forward_a_day_ages_the_experiment_and_no_more() -> None:
    of = running()
    block, before = of.dossier.document.block, of.view()["arms"]
    of.now += DAY_S
    of.tick()

    # A block lasts no longer than it may: the next is opened, once.
    assert of.dossier.document.block == block + 1
    assert sum(parts(of)) == PARTS
    # No outcome was lost or made by it.
    assert all(
        after["rewards_learned"] >= arm["rewards_learned"] for arm, after in zip(before, of.view()["arms"], strict=True)
    )
    # What only time brings is there; what is claimed still rests on the evidence.
    assert not any("min_age" in reason for reason in of.view()["not_ready"])
    of.run(lambda one: one.phase == "concluded")
    assert of.dossier.life.winner in (1, 2)


def test_a_clock_that_is_set_back_an_hour_makes_the_experiment_young_and_ends_nothing() -> None:
    of = running(seconds=15)
    starts = of.dossier.document.block_starts
    of.now -= HOUR_S

    for _ in range(60):
        refreshed = of.tick()
        assert (of.phase, refreshed.snapshot.mode) == ("running", Mode.EXPERIMENT)
        assert sum(parts(of)) == PARTS
        assert of.view()["not_ready"] == ["0 s old, stop.min_age is 25 s"]
    # Starts that are said anew come after the others, so that no row ends before it began.
    assert of.dossier.document.block_starts[: len(starts)] == starts
    of.now += HOUR_S
    of.run(lambda one: one.phase == "concluded")
    assert of.dossier.life.winner in (1, 2)
