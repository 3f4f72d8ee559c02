import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandits.sums import STEPS, Sums, quantise


def test_a_reward_becomes_steps_of_its_range() -> None:
    assert quantise(0.0, 0.0, 1.0) == 0
    assert quantise(1.0, 0.0, 1.0) == 65536
    assert quantise(1000.0, 900.0, 1100.0) == 32768


@pytest.mark.parametrize("reward", [-0.1, 1.1, math.nan, math.inf, -math.inf])
def test_a_reward_outside_its_range_is_refused(reward: float) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        quantise(reward, 0.0, 1.0)


@given(st.floats(-5.0, 7.0))
def test_quantising_loses_at_most_half_a_step(reward: float) -> None:
    step = 12.0 / STEPS

    assert abs(-5.0 + quantise(reward, -5.0, 7.0) * step - reward) <= step / 2 + 1e-12


def test_ten_million_rewards_of_the_highest_value_have_exact_squares() -> None:
    count = 10_000_000
    sums = Sums.from_cells({(0, 0): {"rewards": count, "reward_q": count * STEPS, "reward_q2": count * STEPS**2}}, 1)

    assert int(sums.reward_q2[0, 0]) == count * STEPS**2


@given(st.permutations([((arm, block), arm * 10 + block) for arm in range(3) for block in (4, 7, 9)]))
def test_the_order_of_cells_changes_nothing(cells: list[tuple[tuple[int, int], int]]) -> None:
    sums = Sums.from_cells({key: {"decisions": count, "rows": 5} for key, count in cells}, 3)

    assert sums.blocks.tolist() == [4, 7, 9]
    assert sums.decisions.tolist() == [[4, 14, 24], [7, 17, 27], [9, 19, 29]]
    assert sums.rewards.sum() == 0


def test_no_cells_are_no_rows() -> None:
    assert Sums.empty(3).decisions.shape == (0, 3)


def _sums(**fields: int) -> Sums:
    table = {"decisions": 0, "rewards": 0, "reward_q": 0, "reward_q2": 0} | fields
    return Sums(np.zeros(1, np.int64), **{name: np.array([[number]], np.int64) for name, number in table.items()})


def test_impossible_sums_are_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        _sums(decisions=-1)
    with pytest.raises(ValueError, match="reward_q exceeds"):
        _sums(rewards=1, reward_q=STEPS + 1)
    with pytest.raises(ValueError, match="reward_q2 exceeds"):
        _sums(rewards=1, reward_q=1, reward_q2=STEPS + 1)
    with pytest.raises(ValueError, match="an arm's number"):
        Sums.from_cells({(3, 0): {}}, 3)


def test_shapes_and_types_are_checked() -> None:
    good = np.zeros((2, 3), np.int64)
    with pytest.raises(ValueError, match="with a block number per row"):
        Sums(np.zeros(3, np.int64), good, good, good, good)
    with pytest.raises(ValueError, match="rewards must be int64"):
        Sums(np.zeros(2, np.int64), good, good.astype(np.float64), good, good)
    with pytest.raises(ValueError, match="must not fall"):
        Sums(np.array([1, 0]), good, good, good, good)
