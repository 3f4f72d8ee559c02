"""When an experiment that has ended begins anew, how, and what never makes it."""

from dataclasses import replace

import numpy as np
import pytest

from bandits.experiment import begin, mode, receives, step
from bandits.life import (
    ArmIdle,
    ArmWarmed,
    Assessed,
    EndRules,
    Event,
    Life,
    Promote,
    Reopen,
    Start,
    Tick,
    Unloaded,
)
from bandits.operation import Bypass
from bandits.reopening import Ended, by_drift, by_price, is_open_to
from bandits.rules import Objective
from bandits.sums import STEPS

OBJECTIVE = Objective(value_usd=1e-6)
# v2 won: right most often at the same cost; v3 would be better but for its cost.
COSTS = (1e-7, 1e-7, 3e-7)
ENDED = Ended(("v1", "v2", "v3"), 1, (0.90, 0.95, 0.96), (0.92, 0.96, 0.97), COSTS, COSTS, OBJECTIVE, 0.01)


def play(life: Life, *events: Event) -> Life:
    for event in events:
        life = step(life, event).life
    return life


def concluded() -> Life:
    """Three arms of which v2 won; the others are unloaded."""
    over = Assessed(1e3, 1, (0.1, 0.8, 0.1), is_drained=True, is_over=True)
    life = play(begin(("v1", "v2", "v3"), 0, EndRules(grace_s=0.0)), Start(0.0))
    life = play(life, *(ArmWarmed(1.0, arm) for arm in range(3)), over, *(ArmIdle(1e3, arm) for arm in (0, 2)))
    return play(life, Tick(2e3), *(Unloaded(2e3, arm) for arm in (0, 2)))


def test_nothing_begins_while_prices_are_as_they_were() -> None:
    assert by_price(ENDED) is None


def test_price_that_makes_another_arm_better_by_more_than_the_margin_puts_the_winner_in_question() -> None:
    cheaper = replace(ENDED, costs_usd=(1e-7, 1e-7, 0.7e-7))

    reason = by_price(cheaper)

    assert reason is not None
    assert reason.trigger == "price"
    assert "v3 may be better" in reason.words
    # At best .97 - .07 against .95 - .10: 5 points of 85, and the margin is 1 %.
    assert by_price(replace(cheaper, margin=0.06)) is None


def test_dearer_winner_is_put_in_question_by_the_same_arithmetic() -> None:
    assert by_price(replace(ENDED, costs_usd=(1e-7, 2e-7, 3e-7))) is not None


def test_arm_that_might_be_better_as_it_might_have_been_at_the_end_is_no_reason() -> None:
    # As far as is known v3 may be better; no price has moved.
    assert (
        by_price(replace(ENDED, rates_high=(0.92, 0.96, 0.999), costs_then_usd=(1e-7,) * 3, costs_usd=(1e-7,) * 3))
        is None
    )


def test_arm_whose_cost_is_not_known_is_no_reason() -> None:
    assert by_price(replace(ENDED, costs_usd=(None, 9e-7, None))) is None
    assert by_price(replace(ENDED, costs_usd=(1e-9, None, 1e-9))) is None


@pytest.mark.parametrize(
    ("kind", "costs", "is_reason"),
    [
        ("ratio", (1e-7, 1e-7, 1.2e-7), False),
        ("ratio", (1e-7, 1e-7, 0.9e-7), True),
        # v1 has lost against a price that did not move.
        ("ratio", (1e-7, 1.05e-7, 3e-7), True),
        ("ratio", (1e-7, 1e-7, 3e-7), False),
        # v1 is cheaper, and misses the best by more than the margin.
        ("cheapest_within_margin", (0.1e-7, 1e-7, 1.2e-7), False),
        ("cheapest_within_margin", (1e-7, 1e-7, 0.9e-7), True),
    ],
)
def test_each_objective_has_its_own_price_that_matters(kind: str, costs: tuple[float, ...], is_reason: bool) -> None:
    objective = replace(OBJECTIVE, kind=kind)  # type: ignore[arg-type]  # one of the three

    assert (by_price(replace(ENDED, objective=objective, costs_usd=costs)) is not None) == is_reason


def rewards(rate: float, count: int, rng: np.random.Generator) -> tuple[int, int]:
    return count, int(rng.binomial(count, rate)) * STEPS


@pytest.mark.parametrize("seed", range(20))
def test_rewards_that_stay_as_they_were_are_no_drift(seed: int) -> None:
    rng = np.random.default_rng(seed)

    # The chance of a false alarm at any of the looks is about a hundredth each (Part II §5): none in twenty runs.
    assert by_drift("v2", [rewards(0.9, 5_000, rng) for _ in range(8)], OBJECTIVE) is None


def test_rewards_that_fall_after_the_end_are_a_drift() -> None:
    rng = np.random.default_rng(7)
    rows = [rewards(0.9, 5_000, rng), rewards(0.9, 2_000, rng), rewards(0.8, 2_000, rng)]

    reason = by_drift("v2", rows, OBJECTIVE)

    assert reason is not None
    assert reason.trigger == "drift"
    assert "arm v2 earned 0.9" in reason.words
    assert reason.numbers["evidence_log"] > reason.numbers["evidence_bar_log"]


def test_nothing_counted_since_the_end_is_no_drift() -> None:
    assert by_drift("v2", [(5_000, 4_500 * STEPS)], OBJECTIVE) is None


def test_winner_is_control_of_the_next_epoch_and_serves_all_through_its_warm_up() -> None:
    life = concluded()

    after = step(life, Reopen(3e3, (0, 1, 2), "price: v3 is cheaper"))

    assert (after.life.phase, after.life.control, after.life.winner, after.life.outcome) == ("warmup", 1, None, None)
    assert receives(after.life) == (False, True, False)
    assert mode(after.life) == "warmup"
    assert [arm.state for arm in after.life.arms] == ["warming"] * 3
    told = [(note.what, note.before, note.after) for note in after.notes[:2]]
    assert told == [("control", "v1", "v2"), ("phase", "concluded", "warmup")]


def test_next_epoch_runs_and_ends_as_any_other() -> None:
    life = play(concluded(), Reopen(3e3, (0, 1, 2), "price"), *(ArmWarmed(3e3, arm) for arm in range(3)))
    assert life.phase == "running"
    assert life.started_at == 3e3

    over = Assessed(4e3, 2, (0.1, 0.1, 0.8), is_drained=True, is_over=True)
    life = play(life, over, *(ArmIdle(4e3, arm) for arm in (0, 1)), Tick(5e3), *(Unloaded(5e3, arm) for arm in (0, 1)))

    assert (life.phase, life.winner, life.outcome) == ("concluded", 2, "replaced")


def test_new_arm_is_numbered_after_the_others_and_who_does_not_take_part_stays_away() -> None:
    life = play(concluded(), Reopen(3e3, (1,), "new_arm: v4", new=("v4",)))

    assert [arm.state for arm in life.arms] == ["retired", "warming", "retired", "warming"]
    assert life.arms[3].name == "v4"


def test_word_of_a_person_is_not_put_in_question_by_a_price() -> None:
    life = concluded()
    promoted = play(life, Promote(3e3, 0), ArmWarmed(3e3, 0), ArmIdle(3e3, 1), Tick(4e3), Unloaded(4e3, 1))
    assert promoted.phase == "concluded"

    assert is_open_to(life, "price")
    assert not is_open_to(promoted, "price")
    assert is_open_to(promoted, "new_arm")
    assert not is_open_to(play(life, Bypass(3e3)), "new_arm")


def test_before_the_end_nothing_begins_anew() -> None:
    running = play(begin(("v1", "v2"), 0, EndRules()), Start(0.0), ArmWarmed(1.0, 0), ArmWarmed(1.0, 1))

    assert step(running, Reopen(3e3, (0, 1), "price")).life == running
