"""What the learner hands to the arithmetic: times in seconds, rewards in their own unit."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.cost import Line
from tests.router.control.world import World, spec

LINE = Line(0.001, 0.0002)


def waits(of: World) -> list[str]:
    """What is not ready because outcomes are still awaited."""
    numbers = of.dossier.document.numbers
    return [] if numbers is None else [reason for reason in numbers.not_ready if "waits for" in reason]


def swinging(of: World, ticks: int) -> None:
    """Let time pass while the price turns the order of the arms every two seconds, and so begins a block."""
    for _ in range(ticks):
        if of.version % 2:
            of.prices = {name: 0.02 if price > 2.0 else 2e6 for name, price in of.prices.items()}
        of.tick()


# Weights move at once, and nothing ends.
SOON: dict[str, Any] = {"min_per_arm": 50, "min_age": "1h"}
CHEAP_AND_GOOD = (LINE, LINE, Line(0.002, 0.0004))


def test_window_of_a_block_cut_short_is_counted_by_the_clock() -> None:
    # In block numbers all but the last block would be an hour old, and past the window of 10 s.
    of = World(spec(policy={"block": "1h", "hold": 0}, stop=SOON), (0.5, 0.5, 0.9), CHEAP_AND_GOOD, reported=0.8)
    of.run(lambda of: of.phase == "running")
    swinging(of, 20)
    waiting = waits(of)
    of.reported = 1.0
    swinging(of, 14)

    assert of.dossier.document.block > 10
    assert waiting
    assert not waits(of)


def test_cycle_is_counted_by_the_clock_when_blocks_are_cut_short() -> None:
    # Of the last 20 s eight were at a rate of .9 and twelve at .5; in block numbers 20 s would be two blocks, all at .5.
    of = World(spec(policy={"block": "10s", "hold": 0}, stop=SOON | {"cycle": "20s"}), (0.9, 0.9, 0.9), CHEAP_AND_GOOD)
    of.run(lambda of: of.phase == "running")
    swinging(of, 30)
    of.rates = (0.5, 0.5, 0.5)
    swinging(of, 12)
    numbers = of.dossier.document.numbers

    assert of.dossier.document.block > 15
    assert numbers is not None
    assert [arm.rate for arm in numbers.arms] == pytest.approx([0.66] * 3, abs=0.04)


def dollars(rng: np.random.Generator, arm: int, count: int) -> NDArray[np.float64]:
    """Refunds and purchases between -20 and 80: one in ten buys, for more with the second arm."""
    sizes = np.clip(rng.lognormal(3.0 + 0.4 * (arm == 1), 0.5, count), 0.0, 80.0)
    return np.where(rng.random(count) < 0.1, sizes, np.where(rng.random(count) < 0.02, -20.0, 0.0))


def items(rng: np.random.Generator, arm: int, count: int) -> NDArray[np.float64]:
    """Items in a basket, at most 10."""
    return np.minimum(rng.poisson((2.0, 2.6, 2.0)[arm], count), 10).astype(np.float64)


@pytest.mark.parametrize(
    ("reward", "rewards"),
    [({"type": "continuous", "range": [-20, 80]}, dollars), ({"type": "count", "range": [0, 10]}, items)],
    ids=["continuous", "count"],
)
def test_rewards_that_are_no_zeros_and_ones_decide_in_their_own_unit(reward: dict[str, Any], rewards: Any) -> None:
    objective = {"value_usd": 0.01, "reward": {"window": "10s"} | reward}
    of = World(spec(objective=objective), (0.0,) * 3, (LINE,) * 3, rewards=rewards)
    truth = [rewards(np.random.default_rng(0), arm, 10**6) for arm in range(3)]
    of.run(lambda of: of.phase == "concluded")
    numbers = of.dossier.document.numbers
    view = of.view()

    assert (of.dossier.life.winner, of.states()) == (1, ["retired", "eligible", "retired"])
    assert numbers is not None
    for shown, arm, drawn in zip(view["arms"], numbers.arms, truth, strict=True):
        mean, sd = float(drawn.mean()), float(drawn.std())
        assert arm.value_usd_low < 0.01 * mean - shown["prediction_cost_usd"] < arm.value_usd_high
        assert shown["value_usd"] == pytest.approx(0.01 * shown["rate"] - shown["prediction_cost_usd"])
        assert shown["reward_sum"] == pytest.approx(mean * shown["rewards"], abs=4 * sd * shown["rewards"] ** 0.5)
