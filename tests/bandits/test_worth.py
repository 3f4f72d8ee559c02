import math

import numpy as np
import pytest
from scipy.special import ndtr

from bandits.worth import sample_worth


def loss(mean: float, sd: float) -> float:
    """E[max(0, X)] - max(0, mean) of a normal X."""
    z = mean / sd
    return sd * math.exp(-z * z / 2) / math.sqrt(2 * math.pi) + mean * float(ndtr(z)) - max(0.0, mean)


def test_worth_of_a_sample_of_two_arms_is_that_of_the_normal_difference() -> None:
    rng = np.random.default_rng(1)
    noise, trials, more = 0.5, np.array([4000.0, 1000.0]), np.array([1000.0, 3000.0])
    draws = np.array([0.30, 0.29]) + rng.normal(size=(400_000, 2)) * noise / np.sqrt(trials)
    now, then = (noise**2 * (1 / n).sum() for n in (trials, trials + more))

    found = sample_worth(draws, 0, trials, more)

    # Drawn: 400,000 differences of standard deviation sqrt(now - then).
    assert found == pytest.approx(loss(-0.01, math.sqrt(now - then)), abs=4 * math.sqrt((now - then) / 400_000))


def test_what_all_arms_share_is_worth_nothing() -> None:
    rng = np.random.default_rng(2)
    own, common = rng.normal(0, 0.01, (2000, 3)), rng.normal(0, 5.0, (2000, 1))
    trials, more = np.array([900.0, 100.0, 100.0]), np.full(3, 500.0)

    assert sample_worth(own + common, 0, trials, more) == pytest.approx(sample_worth(own, 0, trials, more), rel=1e-6)


def test_more_data_are_worth_more_and_none_nothing() -> None:
    draws = np.random.default_rng(3).normal([0.1, 0.09, 0.11], 0.02, (4000, 3))
    trials = np.full(3, 100.0)
    worth = [sample_worth(draws, 2, trials, np.full(3, more)) for more in (0.0, 10.0, 100.0, 1e9)]

    assert worth[0] == 0.0
    assert worth == sorted(worth)
    # With all known, the gain of the best over the leader.
    assert worth[3] == pytest.approx(draws.max(axis=1).mean() - draws.mean(axis=0).max(), rel=1e-6)
    assert sample_worth(draws, 2, np.zeros(3), np.zeros(3)) == 0.0


def test_nothing_more_is_worth_nothing_whoever_leads() -> None:
    earned = np.random.default_rng(5).normal([1.0, 1.2], 0.1, (4000, 2))
    trials = np.array([500.0, 500.0])

    # Who leads need not have the higher mean; what that costs is no gain of more data.
    for leader in (0, 1):
        assert sample_worth(earned, leader, trials, np.zeros(2)) == pytest.approx(0.0, abs=1e-12)
