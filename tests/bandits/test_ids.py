import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bandits.ids import information_directed


def ratio_of(shares: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    """The information ratio, from its definition."""
    best, mean = scores.argmax(axis=1), scores.mean(axis=0)
    regret = scores.max(axis=1).mean() - mean
    gain = np.zeros(mean.size)
    for arm in set(best.tolist()):
        gain += (best == arm).mean() * (scores[best == arm].mean(axis=0) - mean) ** 2
    lost, learned = float(shares @ regret), float(shares @ gain)
    # When one arm is best for sure, nothing is lost with it, and nothing learned.
    return 0.0 if lost < 1e-12 else lost**2 / learned if learned > 0.0 else np.inf


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(2, 4))
def test_no_mixture_of_all_arms_has_a_smaller_ratio(seed: int, arms: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(rng.normal(0, 0.5, arms), rng.uniform(0.1, 1.0, arms), (300, arms))

    shares = information_directed(scores, np.ones(arms, np.bool_))

    assert shares.sum() == pytest.approx(1.0)
    assert (shares > 0).sum() <= 2
    others = rng.dirichlet(np.full(arms, 0.3), 300)
    assert ratio_of(shares, scores) <= min(ratio_of(other, scores) for other in others) + 1e-12


def test_an_arm_that_is_not_live_gets_nothing() -> None:
    scores = np.random.default_rng(1).normal([0.0, 9.0, 0.1], 1.0, (500, 3))

    shares = information_directed(scores, np.array([True, False, True]))

    assert shares[1] == 0.0
    assert shares.sum() == pytest.approx(1.0)
    assert information_directed(scores, np.zeros(3, np.bool_)).tolist() == [0.0, 0.0, 0.0]


def test_when_nothing_is_left_to_learn_the_best_gets_all() -> None:
    assert information_directed(np.tile([0.1, 0.3, 0.2], (50, 1)), np.ones(3, np.bool_)).tolist() == [0.0, 1.0, 0.0]
    assert information_directed(np.zeros((50, 1)), np.ones(1, np.bool_)).tolist() == [1.0]


def test_two_equal_unknown_arms_share_equally_or_are_equally_good() -> None:
    half = np.random.default_rng(2).normal(0, 1, (2000, 1))
    scores = np.concatenate([np.hstack([half, -half]), np.hstack([-half, half])])

    shares = information_directed(scores, np.ones(2, np.bool_))

    assert ratio_of(shares, scores) == pytest.approx(ratio_of(np.array([0.5, 0.5]), scores))
