import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import expit, logit

from bandits.aims import Net
from bandits.claim import effect_thresholds, level_ends, margin_of, margin_usd, solve_level, upper_rates

Floats = NDArray[np.float64]


def noise(rate: float) -> float:
    return math.sqrt(rate * (1 - rate))


def thresholds(base: Floats, share: Floats, ends: Floats, cost_l: float, costs: list[float], margin: float) -> Floats:
    """The effects that challengers at these costs need to earn the margin more than a leader at that cost."""
    every = np.array([cost_l, *costs])
    aim = Net(1.0, every, np.zeros(every.size), lambda _: margin)
    targets = np.array([aim.target(challenger, 0, 0, ends) for challenger in range(1, every.size)])
    return effect_thresholds(base, share, ends, targets)


def test_the_margin_follows_the_noise() -> None:
    # Part I §C: 5 % at a rate of 5 %, 1.8 % at .3, 3.4 to 3.6 % at .1, 1 % from .6 on.
    assert margin_of(noise(0.05), 0.05, 0.01, None) == pytest.approx(0.05)
    assert margin_of(noise(0.3), 0.3, 0.01, None) == pytest.approx(0.0183, abs=1e-4)
    assert margin_of(noise(0.1), 0.1, 0.01, None) == pytest.approx(0.036, abs=1e-4)
    assert margin_of(noise(0.6), 0.6, 0.01, None) == 0.01
    assert margin_of(noise(0.001), 0.001, 0.01, None) == 0.05
    assert margin_of(0.0, 0.0, 0.01, None) == 0.05
    assert margin_of(noise(0.5), 0.5, 0.01, 0.02) == 0.02


def test_the_margin_in_money_has_a_floor_and_never_turns_negative() -> None:
    found = margin_usd(0.05, np.array([0.9, 0.1, 0.0, -0.5]), np.array([1.0, 1.0, 1.0, 1.0]))

    assert found == pytest.approx([0.045, 0.01, 0.05, 0.05])


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-12, 12), st.floats(0, 1)), min_size=1, max_size=8).filter(
        lambda rows: sum(share for _, share in rows) > 1e-3
    ),
    st.lists(st.floats(1e-6, 1 - 1e-6), min_size=1, max_size=4),
)
def test_the_level_is_found_wherever_it_lies(rows: list[tuple[float, float]], targets: list[float]) -> None:
    base, share = np.array(rows).T
    share = share / share.sum()

    x = solve_level(base, share, np.array(targets))

    for shift, target in zip(x, targets, strict=True):
        assert share @ expit(base + shift) == pytest.approx(target, rel=1e-8)


@settings(deadline=None)
@given(
    st.floats(0.02, 0.97),
    st.floats(0.0, 0.5),
    st.lists(st.floats(0.0, 0.5), min_size=1, max_size=3),
    st.floats(0.01, 0.2),
)
def test_the_threshold_is_where_the_challenger_earns_the_margin_more(
    theta: float, cost_l: float, costs: list[float], sd: float
) -> None:
    base, share, margin = np.array([-0.5, 0.0, 0.8]) + float(logit(theta)), np.array([0.2, 0.5, 0.3]), 0.03
    ends = level_ends(theta, sd, is_cycle_seen=True)

    found = thresholds(base, share, ends, cost_l, costs, margin)

    for x, cost in zip(found, costs, strict=True):
        wanted = []
        for end in expit(logit(theta) + np.array([-2.5758, 2.5758]) * sd):
            value = end - cost_l
            extra = max(margin * value, 0.2 * margin * end) if value > 0 else margin * end
            target = value + extra + cost
            if not 0 < target < 1:
                wanted.append(math.inf if target >= 1 else -math.inf)
                continue
            shift = optimize.brentq(lambda s, end=end: share @ expit(base + s) - end, -60, 60, xtol=1e-13)
            root = optimize.brentq(
                lambda s, shift=shift, target=target: share @ expit(base + shift + s) - target,
                -60,
                60,
                xtol=1e-13,
            )
            wanted.append(root)
        assert x == pytest.approx(min(wanted), abs=1e-7)


def test_equal_costs_in_one_stratum_by_hand() -> None:
    # theta .5 known exactly, margin 10 %: the challenger needs .55, a logit of ln(.55/.45) = .2007.
    found = thresholds(np.zeros(1), np.ones(1), np.array([0.5]), 0.0, [0.0], 0.1)

    assert found == pytest.approx([math.log(0.55 / 0.45)])


def test_too_dear_for_any_rate_and_better_for_free() -> None:
    found = thresholds(np.zeros(1), np.ones(1), np.array([0.5]), 0.4, [0.95, 0.0], 0.01)
    assert found[0] == math.inf
    # A leader that loses money: an arm that costs nothing is better by the margin even when never rewarded.
    found = thresholds(np.zeros(1), np.ones(1), np.array([0.5]), 0.9, [0.0], 0.01)
    assert found[0] == -math.inf


def test_before_a_full_cycle_the_level_may_swing() -> None:
    ends = level_ends(0.05, 0.1, is_cycle_seen=False)

    assert ends[2:] == pytest.approx([0.05 / 1.6, 0.08])
    assert level_ends(0.9, 0.1, is_cycle_seen=False).max() < 1.0


def test_highest_rates_follow_from_bounds_of_the_effects() -> None:
    half, one = np.array([0.5]), np.ones(1)
    found = upper_rates(np.zeros(1), one, half, np.array([math.log(0.55 / 0.45), -math.inf, math.inf]))
    assert found[:, 0] == pytest.approx([0.55, 0.0, 1.0])

    # Two strata whose level is shifted to the leader's rate: the threshold's own inverse.
    base, share, ends = np.array([-3.0, 0.5]), np.array([0.3, 0.7]), np.array([0.2, 0.4])
    targets = np.array([[0.3, 0.3]])
    x = effect_thresholds(base, share, ends[:1], targets[:, :1])
    assert upper_rates(base, share, ends[:1], x) == pytest.approx(np.array([[0.3]]))


def test_without_challengers_nothing_is_asked() -> None:
    assert effect_thresholds(np.zeros(1), np.ones(1), np.array([0.5]), np.zeros((0, 1))).shape == (0,)
