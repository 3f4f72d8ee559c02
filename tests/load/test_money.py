"""What a run earned, against hand-made examples and exact binomial intervals."""

import math

import numpy as np
import pytest
from scipy.special import gammaln, xlogy

from load.demo.money import ArmMoney, earned_usd, equal_split_usd, interval


def test_earned_is_rewards_less_cost() -> None:
    arms = [ArmMoney("v1", 100, 90, 1e-8), ArmMoney("v2", 300, 294, 2e-8)]

    assert earned_usd(arms, 1e-6) == pytest.approx(384e-6 - 100e-8 - 600e-8, rel=1e-12)


def test_equal_split_gives_each_arm_a_third_of_the_requests_at_its_own_value() -> None:
    arms = [ArmMoney("v1", 10, 9, 1e-8), ArmMoney("v2", 80, 76, 2e-8), ArmMoney("v3", 10, 10, 9e-8)]

    expected = 100 / 3 * (0.9e-6 - 1e-8) + 100 / 3 * (0.95e-6 - 2e-8) + 100 / 3 * (1e-6 - 9e-8)
    assert equal_split_usd(arms, 1e-6) == pytest.approx(expected, rel=1e-12)


def test_both_agree_when_traffic_was_split_equally() -> None:
    arms = [ArmMoney("v1", 50, 45, 1e-8), ArmMoney("v2", 50, 49, 3e-8)]

    assert earned_usd(arms, 1e-6) == pytest.approx(equal_split_usd(arms, 1e-6), rel=1e-12)


def test_arm_that_was_never_asked_counts_at_its_believed_rate() -> None:
    arms = [ArmMoney("v1", 10, 10, 0.0), ArmMoney("v2", 0, 0, 0.0, believed_rate=0.5)]

    assert equal_split_usd(arms, 1e-6) == pytest.approx(10 * 0.75e-6, rel=1e-12)


@pytest.mark.parametrize("requests", [30, 300, 3000])
def test_interval_covers_the_truth_19_times_in_20(requests: int) -> None:
    rates = np.linspace(0.02, 0.98, 97)
    right = np.arange(requests + 1)
    bounds = np.array([interval(int(count), requests) for count in right])

    covers = (bounds[:, :1] <= rates) & (rates <= bounds[:, 1:])

    log_ways = gammaln(requests + 1) - gammaln(right + 1) - gammaln(requests - right + 1)
    chances = np.exp(log_ways[:, None] + xlogy(right[:, None], rates) + xlogy(requests - right[:, None], 1 - rates))
    coverage = (chances * covers).sum(axis=0)
    # The binomial's steps let single rates stray from 95 %; their mean does not.
    assert coverage.mean() == pytest.approx(0.95, abs=0.01)
    assert coverage.min() > 0.83


def test_interval_without_requests_is_everything() -> None:
    assert interval(0, 0) == (0.0, 1.0)


def test_interval_holds_its_rate_in_the_middle_for_many_requests() -> None:
    low, high = interval(5_000, 10_000)

    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 10_000), rel=1e-3)
