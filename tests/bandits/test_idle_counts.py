"""Machines that only losers keep on weigh in the end if they are to: what has to be shown of the challengers stays."""

from typing import Any

import pytest

from bandits.assess import assess
from bandits.experiment import begin, step
from bandits.life import ArmWarmed, Assessed, EndRules, Start
from bandits.question import Question
from bandits.rules import StopRule
from bandits.worth import pays
from tests.bandits.test_assess import question

# Six blocks of 500 and 500: 5.0 % and 5.2 %, of which more can be learned.
TRIALS, WINS = [[500, 500]] * 6, [[25, 26]] * 6
DAY_S = 86_400.0


def asked(*, idle_counts: bool, keeping: float, **changes: Any) -> Question:
    stop = StopRule(cycle_s=None, idle_counts=idle_counts)
    return question(TRIALS, WINS, (0.0, 0.0), stop=stop, keeping_usd_day=keeping, requests_per_day=50_000.0, **changes)


@pytest.mark.parametrize(
    ("idle_counts", "keeping", "is_spent"),
    [(False, 1e9, False), (True, 0.0, False), (True, 1e-9, False), (True, 1e9, True)],
    ids=["not to count", "nothing is kept on", "cheap beside what is learned", "dear beside it"],
)
def test_going_on_ends_where_it_costs_more_than_it_brings_if_idle_is_to_count(
    idle_counts: bool, keeping: float, is_spent: bool
) -> None:
    found = assess(asked(idle_counts=idle_counts, keeping=keeping))

    assert found.remaining_q95 > found.threshold
    assert (found.is_spent, found.is_drained) == (is_spent, is_spent)


def test_nothing_ends_by_money_alone() -> None:
    found = assess(asked(idle_counts=True, keeping=1e9))

    # Of 5.0 % and 5.2 % nothing is refuted yet, so the sprint brings evidence; nobody goes.
    assert found.is_drained
    assert (found.is_over, found.retire, found.sprint.is_running) == (False, (), True)


def test_what_blocks_an_end_blocks_this_one_too() -> None:
    found = assess(asked(idle_counts=True, keeping=1e9, alarms=("a price is stale",)))

    assert (found.is_spent, found.is_drained) == (False, False)


def test_the_less_time_is_left_the_less_is_worth_keeping_on_for() -> None:
    young, old = (
        assess(asked(idle_counts=True, keeping=keeping_between(), age_s=age_s)) for age_s in (DAY_S, 13.9 * DAY_S)
    )

    assert (young.is_spent, old.is_spent) == (False, True)


def keeping_between() -> float:
    """Three times what a day more brings on each day after it."""
    return 3.0 * assess(asked(idle_counts=False, keeping=0.0)).worth_usd_day


@pytest.mark.parametrize(
    ("worth", "is_paid"),
    [
        (lambda _days: 0.0, False),
        (lambda _days: 1.0, True),
        # An hour brings nothing, a week does: longer looks are taken too.
        (lambda days: 5.0 if days >= 3.0 else 0.0, True),
        # What comes at the very end has no days left to be worth anything on.
        (lambda days: 5.0 if days >= 13.5 else 0.0, False),
    ],
    ids=["nothing to learn", "much to learn", "only a long look pays", "too late"],
)
def test_any_time_that_pays_is_enough(worth: Any, is_paid: bool) -> None:
    assert pays(worth, 2.0, 14.0) is is_paid


def test_nothing_pays_beyond_the_horizon() -> None:
    assert not pays(lambda _days: 1e9, 0.0, -1.0)


def test_history_says_what_was_spent() -> None:
    life = step(begin(("v1", "v2"), 0, EndRules()), Start(0.0, who="test")).life
    for arm in (0, 1):
        life = step(life, ArmWarmed(1.0, arm)).life

    result = step(life, Assessed(2.0, 0, (0.6, 0.4), is_drained=True, is_over=False, is_spent=True))

    assert result.life.phase == "confirming"
    assert result.life.reason == "going on costs more than it brings; confirming that no challenger is better"
