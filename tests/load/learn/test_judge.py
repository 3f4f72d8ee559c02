"""The judge: a bar that is met, one that is missed, and one of which so few repetitions can't tell."""

import math

import pytest

from load.learn import judge
from load.learn.judge import Demand


@pytest.mark.parametrize(
    ("hits", "runs", "bar", "verdict"),
    [
        (0, 20, 0.05, "met"),
        (1, 20, 0.05, "met"),
        # Two of twenty where .05 is allowed: chance alone does it in a quarter of tables.
        (2, 20, 0.05, "unclear"),
        # Four of twenty: once in sixty.
        (4, 20, 0.05, "missed"),
    ],
)
def test_a_rare_share(hits: int, runs: int, bar: float, verdict: str) -> None:
    assert judge.share_at_most("wrong", hits, runs, bar).verdict == verdict


@pytest.mark.parametrize(("hits", "verdict"), [(19, "met"), (18, "unclear"), (16, "missed")])
def test_a_large_share(hits: int, verdict: str) -> None:
    assert judge.share_at_least("right", hits, 20, 0.95).verdict == verdict


@pytest.mark.parametrize(("bar", "verdict"), [(11.0, "met"), (9.5, "unclear"), (5.0, "missed")])
def test_a_mean(bar: float, verdict: str) -> None:
    assert judge.mean_at_most("regret", [8.0, 10.0, 12.0], bar).verdict == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(9.0, 11.0, "met"), (10.5, 12.0, "unclear"), (20.0, 30.0, "missed")]
)
def test_a_mean_between(low: float, high: float, verdict: str) -> None:
    assert judge.mean_within("weight", [8.0, 10.0, 12.0], low, high).verdict == verdict


def test_a_run_that_never_got_there_counts_as_infinite() -> None:
    never = judge.median_at_most("stop", [math.inf] * 10, 1000)

    assert (never.verdict, never.seen) == ("missed", "stop never (bar <= 1,000)")
    assert judge.median_at_most("stop", [math.inf] * 4 + [900.0] * 6, 1000).verdict == "met"
    assert judge.median_at_most("stop", [math.inf] * 6 + [900.0] * 4, 1000).verdict == "unclear"


def test_chance_has_no_part_in_an_error_of_arithmetic() -> None:
    assert judge.worst_at_most("eta", [1e-7, 2e-6], 1e-6).verdict == "missed"
    assert judge.worst_at_most("eta", [1e-7, 1e-6], 1e-6).verdict == "met"


def test_a_ratio_has_three_standard_errors() -> None:
    other = [100.0, 100.0, 100.0]

    assert judge.ratio_at_most("regret", [105.0, 110.0, 107.0], other, 1.1).verdict == "met"
    assert judge.ratio_at_most("regret", [100.0, 130.0, 115.0], other, 1.1).verdict == "unclear"
    assert judge.ratio_at_most("regret", [199.0, 200.0, 201.0], other, 1.1).verdict == "missed"


def test_a_row_is_as_good_as_its_worst_demand() -> None:
    demands = [Demand("a", "met"), Demand("b", "missed"), Demand("c", "unclear")]

    assert judge.worst_of(demands) == "missed"
    assert judge.worst_of(demands[::2]) == "unclear"
