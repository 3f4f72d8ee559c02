import math

import numpy as np
import pytest
from numpy.typing import NDArray

from bandits.draws import narrowed, normal_points, standing

Floats = NDArray[np.float64]


def everyone(arms: int) -> NDArray[np.bool_]:
    return np.ones(arms, np.bool_)


@pytest.mark.parametrize("arms", [1, 2, 5, 10, 16])
def test_the_points_are_standard_normal_and_mirrored(arms: int) -> None:
    points = normal_points(arms)

    assert points.shape == (4096, arms)
    assert np.isfinite(points).all()
    assert points.mean(axis=0) == pytest.approx(np.zeros(arms), abs=1e-12)
    assert np.cov(points.T).reshape(arms, arms) == pytest.approx(np.eye(arms), abs=0.001)


def test_an_arm_more_leaves_the_others_columns_alone() -> None:
    assert (normal_points(4)[:, :3] == normal_points(3)).all()


def test_the_points_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        normal_points(2)[0, 0] = 1.0


@pytest.mark.parametrize("arms", [2, 3, 5, 10])
def test_probabilities_and_losses_agree_with_random_draws(arms: int) -> None:
    rng = np.random.default_rng(arms)
    centre = rng.normal(0, 1, arms)
    root = np.diag(rng.uniform(0.3, 1.5, arms)) @ (np.eye(arms) + 0.3 * np.tril(rng.normal(size=(arms, arms)), -1))
    draws = 400_000
    random = centre + rng.standard_normal((draws, arms)) @ root.T

    found = standing(centre + normal_points(arms) @ root.T, everyone(arms), 0)

    p_best = np.bincount(random.argmax(axis=1), minlength=arms) / draws
    # The error of 4096 evenly spread points: at most .010 in 40 random cases.
    assert found.p_best == pytest.approx(p_best, abs=0.010 + 4 * 0.5 / math.sqrt(draws))
    assert found.leader == p_best.argmax()
    others = np.delete(random, found.leader, axis=1).max(axis=1)
    assert found.remaining == pytest.approx(np.quantile(others - random[:, found.leader], 0.95), abs=0.12)
    for arm in range(arms):
        lost = np.maximum(random[:, arm] - np.delete(random, arm, axis=1).max(axis=1), 0.0)
        assert found.drop[arm] == pytest.approx(lost.mean(), rel=0.05, abs=0.004)


def test_a_hand_example() -> None:
    values = np.array([[1.0, 0.0], [1.0, 3.0], [1.0, 0.5], [1.0, 0.0]])

    found = standing(values, everyone(2), 1)

    assert found.p_best.tolist() == [0.75, 0.25]
    assert found.leader == 0
    assert found.drop.tolist() == [2.5 / 4, 2.0 / 4]
    assert found.remaining == 2.0


def test_an_arm_that_is_not_live_is_no_rival() -> None:
    values = np.array([[1.0, 9.0, 0.0]] * 20)

    found = standing(values, np.array([True, False, True]), 0)

    assert (found.p_best.tolist(), found.leader, found.remaining) == ([1.0, 0.0, 0.0], 0, 0.0)
    assert found.drop.tolist() == [1.0, 0.0, 0.0]


def test_one_arm_and_none() -> None:
    values = np.zeros((20, 2))

    assert standing(values, np.array([False, True]), 0).leader == 1
    assert standing(values, np.array([False, True]), 0).p_best.tolist() == [0.0, 1.0]
    nobody = standing(values, np.zeros(2, np.bool_), 1)
    assert (nobody.leader, nobody.remaining, nobody.p_best.tolist()) == (1, 0.0, [0.0, 0.0])


def test_a_tie_favours_the_higher_mean_then_control() -> None:
    even = np.array([[1.0, 0.0, -9.0], [0.0, 1.0, -9.0]])
    assert standing(even, everyone(3), 1).leader == 1
    assert standing(even, everyone(3), 2).leader == 0
    assert standing(even + np.array([[0.0, 0.0, 0.0], [0.0, 0.5, 0.0]]), everyone(3), 0).leader == 1


def test_narrowed_draws_keep_their_means_and_lose_a_tenth_of_their_spread() -> None:
    drawn = np.array([0.02, 0.05]) + np.array([0.003, 0.001]) * normal_points(2)

    near = narrowed(drawn)
    assert near.mean(axis=0) == pytest.approx(drawn.mean(axis=0))
    assert near.std(axis=0) == pytest.approx(0.9 * drawn.std(axis=0))
    assert np.corrcoef(near.T) == pytest.approx(np.corrcoef(drawn.T), abs=1e-9)
