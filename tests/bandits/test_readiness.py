from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bandits.question import ArmFacts, Question
from bandits.readiness import missing
from bandits.rules import Objective, Policy, StopRule
from bandits.strata import Outcomes
from bandits.sums import Sums

STOP = StopRule(cycle_s=None)
READY = Question(
    arms=(ArmFacts("v1", 0.0), ArmFacts("v2", 0.0)),
    control=0,
    sums=Sums.empty(2),
    open_block=5,
    age_s=100.0,
    objective=Objective(1.0),
    policy=Policy(),
    stop=STOP,
    blocks_closed=5,
)


def outcomes(trials: list[float], total: list[float], pending: list[float] | None = None) -> Outcomes:
    successes = np.array([total])
    return Outcomes(np.array([trials]), successes, successes, np.array([pending or [0.0] * len(trials)]), np.ones(1))


def lacking(question: Question, found: Outcomes, rate: NDArray[np.float64]) -> tuple[str, ...]:
    return missing(question, found, rate).words


ENOUGH = outcomes([300.0, 300.0], [150.0, 150.0])
RATE = np.array([0.5, 0.5])


def test_enough_is_enough() -> None:
    assert lacking(READY, ENOUGH, RATE) == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"age_s": 9.0, "stop": replace(STOP, min_age_s=10.0)}, "9 s old, stop.min_age is 10 s"),
        ({"stop": StopRule(cycle_s=60.0, min_cycles=2.0)}, "100 s old, 2 cycles are 120 s"),
        ({"blocks_closed": 4}, "4 blocks are closed, 5 are needed"),
    ],
)
def test_time_has_to_pass(changes: dict[str, Any], words: str) -> None:
    assert lacking(replace(READY, **changes), ENOUGH, RATE) == (words,)


@pytest.mark.parametrize(
    ("found", "rate", "words"),
    [
        (outcomes([300.0, 199.0], [150.0, 100.0]), [0.5, 0.5], "arm v2 has 199 outcomes, 200 are needed"),
        # At a rate of .1 % a thousand requests bring one success.
        (outcomes([9e4, 300.0], [90.0, 90.0]), [0.001, 0.001], "arm v2 has 300 outcomes, 1000 are needed"),
        (outcomes([290.0, 310.0], [29.0, 31.0]), [0.1, 0.1], "arm v1 has 29 effective successes, 30 are needed"),
        (
            outcomes([300.0, 300.0], [150.0, 150.0], [0.0, 40.0]),
            [0.5, 0.5],
            "arm v2 waits for 12% of its outcomes, 10% may be",
        ),
    ],
)
def test_an_arm_needs_outcomes(found: Outcomes, rate: list[float], words: str) -> None:
    assert lacking(READY, found, np.array(rate)) == (words,)


def test_an_arm_that_is_not_live_needs_nothing() -> None:
    arms = (ArmFacts("v1", 0.0), ArmFacts("v2", 0.0, is_live=False))

    assert lacking(replace(READY, arms=arms), outcomes([300.0, 0.0], [150.0, 0.0]), RATE) == ()


def test_of_conversions_the_young_are_always_pending() -> None:
    conversions = replace(READY, objective=Objective(1.0, feedback="conversions"))

    one = outcomes([300.0, 300.0], [150.0, 150.0], [900.0, 900.0])
    trials, total, square, pending = (
        np.repeat(each / 5.0, 5, axis=0) for each in (one.trials, one.total, one.square, one.pending)
    )
    five = Outcomes(trials, total, square, pending, np.ones(5))
    assert lacking(conversions, five, RATE) == ()
    assert lacking(conversions, one, RATE) == ("1 blocks are older than the window, 5 are needed",)


def test_an_arm_that_is_never_rewarded_has_enough_once_a_good_one_would_have_been() -> None:
    never = outcomes([600.0, 600.0], [60.0, 0.0])
    too_few = outcomes([600.0, 299.0], [60.0, 0.0])

    assert lacking(READY, never, np.array([0.1, 1e-5])) == ()
    assert lacking(READY, too_few, np.array([0.1, 1e-5])) == ("arm v2 has 0 effective successes, 30 are needed",)


def test_without_any_reward_nothing_is_ever_enough() -> None:
    nothing = outcomes([1e5, 1e5], [0.0, 0.0])

    assert lacking(READY, nothing, np.array([1e-6, 1e-6])) == (
        "arm v1 has 100000 outcomes, 1000000 are needed",
        "arm v2 has 100000 outcomes, 1000000 are needed",
    )


def test_what_traffic_brings_is_told_apart_from_what_only_time_brings() -> None:
    found = missing(replace(READY, blocks_closed=4), outcomes([300.0, 100.0], [150.0, 50.0]), RATE)

    assert found.waits == ("4 blocks are closed, 5 are needed",)
    assert found.outcomes == ("arm v2 has 100 outcomes, 200 are needed",)


def test_few_outcomes_may_still_come() -> None:
    assert lacking(READY, outcomes([300.0, 300.0], [150.0, 150.0], [0.0, 30.0]), RATE) == ()


def test_where_failures_abound_successes_are_not_counted() -> None:
    assert lacking(READY, outcomes([300.0, 300.0], [20.0, 20.0]), np.array([0.05, 0.25])) == ()


def test_blocks_nobody_was_served_in_are_no_blocks() -> None:
    conversions = replace(READY, objective=Objective(1.0, feedback="conversions"))
    trials = np.array([[300.0, 300.0]] + [[0.0, 0.0]] * 5)
    found = Outcomes(trials, trials / 2, trials / 2, np.zeros_like(trials), np.ones(6))

    assert lacking(conversions, found, RATE) == ("1 blocks are older than the window, 5 are needed",)


@pytest.mark.parametrize("low", [0.0, -100.0])
def test_silence_is_no_success_where_the_range_begins_below_nought(low: float) -> None:
    # 20 rewards of 50 among 300, the rest 0; and 40 of them.
    objective = Objective(1.0, reward_type="continuous", low=low, high=100.0)
    size, nothing, trials = (50.0 - low) / (100.0 - low), -low / (100.0 - low), np.array([300.0, 300.0])
    rewarded = np.array([20.0, 40.0])
    total = rewarded * size + (trials - rewarded) * nothing
    square = rewarded * size**2 + (trials - rewarded) * nothing**2
    found = Outcomes(trials[None, :], total[None, :], square[None, :], np.zeros((1, 2)), np.ones(1))

    words = lacking(replace(READY, objective=objective), found, np.array([3.3, 6.7]))
    assert words == ("arm v1 has 20 effective successes, 30 are needed",)
