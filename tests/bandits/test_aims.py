import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bandits.aims import COST_MIN_USD, Cheapest, Net, Ratio, aim_of
from bandits.rules import Objective, ObjectiveKind

Floats = NDArray[np.float64]
LIVE = np.ones(3, np.bool_)


def net(costs: list[float], rate: list[float], margin: float = 0.05) -> Net:
    return Net(2.0, np.array(costs), np.array(rate), lambda _: margin)


def ratio(costs: list[float], rate: list[float], margin: float = 0.05) -> Ratio:
    return Ratio(2.0, np.array(costs), np.array(rate), lambda _: margin)


def cheapest(costs: list[float], rate: list[float], margin: float = 0.05, live: NDArray[np.bool_] = LIVE) -> Cheapest:
    return Cheapest(2.0, np.array(costs), np.array(rate), lambda _: margin, live, 0.01)


def test_net_is_money() -> None:
    aim = net([0.1, 0.3], [0.4, 0.5])

    assert aim.scores(np.array([[0.4, 0.5]])) == pytest.approx(np.array([[0.7, 0.7]]))
    assert aim.scale(0) == pytest.approx(0.7)
    # The leader earns .7; with 5 % more and the challenger's cost, .7 + .035 + .3 for a reward worth 2.
    assert aim.target(1, 0, 0, np.array([0.4])) == pytest.approx([(0.7 + 0.035 + 0.3) / 2])
    assert aim.gap(1, 0, np.array([0.6]), np.array([0.4])) == pytest.approx([(0.9 - 0.7) / 0.7])
    assert aim.gap(1, 0, np.array([0.6]), np.array([0.05])) == [np.inf]


def test_ratio_is_reward_per_dollar() -> None:
    aim = ratio([0.1, 0.3], [0.4, 0.9])

    assert aim.scores(np.array([[0.4, 0.9]])) == pytest.approx(np.array([[4.0, 3.0]]))
    assert aim.scale(0) == pytest.approx(4.0)
    # Three times as dear: thrice the reward, and 5 % more.
    assert aim.target(1, 0, 0, np.array([0.2])) == pytest.approx([0.63])
    # At the target reward per dollar is the margin higher.
    assert aim.gap(1, 0, aim.target(1, 0, 0, np.array([0.2])), np.array([0.2])) == pytest.approx([0.05])
    # What .3 dollars bring with the leader is a reward of 1.2, .3 more than the challenger's: .6 dollars lost.
    assert aim.earned_usd(np.array([[0.4, 0.9]]), 0) == pytest.approx(np.array([[0.0, -0.6]]))


def test_cheapest_is_the_cheapest_that_is_good_enough() -> None:
    aim = cheapest([0.1, 0.2, 0.4], [0.9, 0.96, 1.0])
    drawn = np.array([[0.9, 0.96, 1.0], [0.96, 0.9, 1.0], [0.9, 0.9, 1.0]])

    lost = -aim.scores(drawn)

    assert lost.argmin(axis=1).tolist() == [1, 0, 2]
    assert lost[0] == pytest.approx([0.05 / 0.95, 0.0, 0.5], abs=1e-8)
    assert lost[1] == pytest.approx([0.0, 0.05 / 0.95, 0.75], abs=1e-8)
    # In money: .2 dollars paid for nothing, or a reward of .05 missed that is worth .1.
    assert -aim.earned_usd(drawn, 1)[0] == pytest.approx([0.1, 0.0, 0.2])


def test_of_equally_cheap_arms_the_better_is_drawn() -> None:
    aim = cheapest([0.1, 0.1, 0.4], [0.97, 0.98, 1.0])

    assert aim.scores(np.array([[0.97, 0.98, 1.0], [0.99, 0.98, 1.0]])).argmax(axis=1).tolist() == [1, 0]


def test_an_arm_that_is_not_live_sets_no_standard() -> None:
    live = np.array([True, True, False])

    found = cheapest([0.1, 0.2, 0.4], [0.5, 0.52, 1.0], live=live).scores(np.array([[0.5, 0.52, 1.0]]))[0]

    assert found[live].argmax() == 0


def test_what_a_cheaper_and_what_a_dearer_arm_claims() -> None:
    aim = cheapest([0.1, 0.2, 0.4], [0.9, 0.96, 1.0])

    # Against leader 1: the dearer arm 2 only, that it leaves it behind; the cheaper arm 0, that it would do.
    assert aim.opponents(2, 1) == (1,)
    assert aim.target(2, 1, 1, np.array([0.8])) == pytest.approx([0.8 / 0.95 + 0.008])
    assert aim.opponents(0, 1) == (1, 2)
    assert aim.target(0, 2, 1, np.array([0.8])) == pytest.approx([0.76])
    assert aim.gap(2, 1, np.array([0.88]), np.array([0.8])) == pytest.approx([0.1])


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.01, 0.1]))
def test_the_drawn_choice_is_that_of_the_definition(seed: int, margin: float) -> None:
    rng = np.random.default_rng(seed)
    drawn, costs = rng.normal(0.5, 0.05, (20, 3)), rng.uniform(0.1, 1.0, 3)
    found = cheapest(costs.tolist(), [0.5] * 3, margin).scores(drawn).argmax(axis=1)

    for draw, arm in zip(drawn, found, strict=True):
        good = [k for k in range(3) if draw[k] >= (1 - margin) * draw.max()]
        assert arm == min(good, key=lambda k: costs[k])


@pytest.mark.parametrize("kind", ["net", "ratio", "cheapest_within_margin"])
def test_arms_that_cost_nothing_have_finite_scores(kind: ObjectiveKind) -> None:
    zero = np.zeros(3)
    aim = aim_of(Objective(1.0, kind=kind), zero, np.full(3, 0.5), lambda _: 0.05, is_live=LIVE, slack=0.01)

    assert np.isfinite(aim.scores(np.full((4, 3), 0.5))).all()
    assert np.isfinite(aim.earned_usd(np.full((4, 3), 0.5), 0)).all()
    assert np.isfinite(aim.target(1, 0, 0, np.array([0.5]))).all()
    assert np.isfinite(aim.scale(0))


def test_a_cost_of_nothing_is_counted_as_next_to_nothing() -> None:
    aim = aim_of(
        Objective(1.0, kind="ratio"), np.array([0.0, 1.0]), np.ones(2), lambda _: 0.05, is_live=LIVE, slack=0.01
    )

    assert aim.scores(np.ones((1, 2)))[0] == pytest.approx([1 / COST_MIN_USD, 1.0])


def test_without_a_live_arm_there_is_still_an_aim() -> None:
    aim = aim_of(
        Objective(1.0, kind="cheapest_within_margin"), np.ones(3), np.ones(3), lambda _: 0.05, is_live=~LIVE, slack=0.01
    )

    assert np.isfinite(aim.scores(np.ones((2, 3)))).all()
