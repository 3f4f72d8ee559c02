"""The textbook policies, against their textbooks."""

import math
from typing import Any

import numpy as np
import pytest

from load.simulate.baselines import baseline, is_baseline
from load.simulate.policy import News, Policy
from load.simulate.run import run
from load.simulate.world import World
from router.config.document import validate

PARTS = 2**31
ONE = 1 << 16
NO_COSTS = np.zeros(2)


def world(policy: str, **more: Any) -> World:
    arms = [{"rate": 0.2}, {"rate": 0.4}]
    return validate(World, {"requests": 10_000, "refresh": 100, "arms": arms, "policy": policy} | more)


def policy(name: str, **more: Any) -> Policy:
    found = baseline(world(name, **more))
    assert found is not None
    return found


def shares(of: Policy, decided: tuple[int, int], won: tuple[int, int], costs: Any = NO_COSTS) -> list[float]:
    """The weights after a first turn that had these outcomes."""
    first = of.turn(0, {}, [], np.asarray(costs))
    cells = {(arm, first.block): {"decisions": count} for arm, count in enumerate(decided)}
    news = [News(arm, first.block, decided[arm], won[arm] * ONE) for arm in range(2)]
    turn = of.turn(sum(decided), cells, news, np.asarray(costs))
    return [part / PARTS for part in turn.parts]


def test_production_policies_are_no_baselines() -> None:
    assert baseline(world("thompson")) is None
    assert not is_baseline(world("ids"))


def test_uniform_stays_uniform() -> None:
    assert shares(policy("uniform"), (50, 50), (0, 50)) == [0.5, 0.5]


def test_epsilon_greedy_gives_a_tenth_to_all() -> None:
    assert shares(policy("epsilon_greedy"), (50, 50), (10, 20)) == pytest.approx([0.05, 0.95])


def test_costs_count_in_rewards_of_their_value() -> None:
    found = shares(policy("epsilon_greedy", value_usd=10.0), (50, 50), (10, 20), costs=[0.0, 3.0])

    assert found == pytest.approx([0.95, 0.05])


def test_ucb1_tries_each_and_then_follows_the_highest_bound() -> None:
    assert shares(policy("ucb1"), (100, 0), (50, 0)) == [0.0, 1.0]
    # .5 + sqrt(2 ln 110 / 100) = .807 against .2 + sqrt(2 ln 110 / 10) = 1.17.
    assert shares(policy("ucb1"), (100, 10), (50, 2)) == [0.0, 1.0]
    assert shares(policy("ucb1"), (60, 50), (50, 2)) == [1.0, 0.0]


def test_exp3_weighs_rewards_by_their_propensity() -> None:
    found = shares(policy("exp3"), (50, 50), (10, 20))

    gamma = math.sqrt(2 * math.log(2) / ((math.e - 1) * 10_000))
    lifted = np.exp(gamma / 2 * np.array([10 / 0.5, 20 / 0.5]))
    assert found == pytest.approx((1 - gamma) * lifted / lifted.sum() + gamma / 2)


def test_pooled_is_thompson_sampling_on_betas() -> None:
    found = shares(policy("pooled"), (50, 50), (10, 14))

    rng = np.random.default_rng(5)
    best = (rng.beta(15, 55, 400_000) > rng.beta(11, 59, 400_000)).mean()
    assert found[1] == pytest.approx(best, abs=4 * math.sqrt(0.25 / 2000))


def test_silence_is_a_zero_when_only_conversions_are_reported() -> None:
    of = policy("epsilon_greedy", feedback="conversions")
    first = of.turn(0, {}, [], NO_COSTS)
    cells = {(0, first.block): {"decisions": 90}, (1, first.block): {"decisions": 10}}
    # 9 of 90 against 2 of 10: as explicit outcomes both would be perfect.
    turn = of.turn(100, cells, [News(0, first.block, 9, 9 * ONE), News(1, first.block, 2, 2 * ONE)], NO_COSTS)

    assert turn.parts[1] > turn.parts[0]


@pytest.mark.parametrize("name", ["epsilon_greedy", "ucb1", "exp3", "pooled"])
def test_each_finds_the_better_arm_and_beats_an_even_split(name: str) -> None:
    found, even = run(world(name), 4), run(world("uniform"), 4)

    assert found.leader == 1
    assert found.regret < 0.7 * even.regret
