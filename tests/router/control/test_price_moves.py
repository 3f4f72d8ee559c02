"""What prices do to an experiment: traffic follows them, once per hold, and nothing ends on one nobody can rely on."""

from typing import Any

import pytest

from router.snapshot import PARTS
from serving.cost import Line
from tests.router.control.world import BACKEND, World, spec

CLOUDS = (BACKEND, "tfs-g")


class Clouds(World):
    """One model on two clouds. Mutable: `warnings`, what is said of prices."""

    def __init__(self, **changes: Any) -> None:
        wanted = spec(arms=2, stop={"min_age": "1h"}, **changes)
        arms = tuple(
            arm.model_copy(update={"backend": cloud, "reward_group": "two"})
            for arm, cloud in zip(wanted.arms, CLOUDS, strict=True)
        )
        super().__init__(wanted.model_copy(update={"arms": arms}), [0.9, 0.9], [Line(0.0, 0.0002)] * 2)
        # 0.0002 s at $18 an hour are a dollar for a million predictions: the whole value.
        self.prices = {BACKEND: 3.0, "tfs-g": 6.0}
        self.run(lambda world: world.phase == "running" and shares(world)[0] > 0.9)


def shares(world: World) -> list[float]:
    return [arm.parts / PARTS for arm in world.published[-1].arms]


def test_ninety_percent_follow_a_price_flip_at_the_next_refresh_and_back_after_the_hold() -> None:
    world = Clouds(policy={"hold": "60s"})
    world.prices = {BACKEND: 6.0, "tfs-g": 3.0}
    world.tick()
    assert shares(world)[1] > 0.9

    world.prices = {BACKEND: 3.0, "tfs-g": 6.0}
    for _ in range(58):
        world.tick()
        assert shares(world)[1] > 0.9
    world.run(lambda world: shares(world)[0] > 0.9, most_s=3)


def test_square_wave_faster_than_the_hold_moves_traffic_once() -> None:
    world = Clouds(policy={"hold": "100s"})
    leaders = []
    # Six waves and more within one hold.
    for second in range(90):
        is_high = second // 7 % 2 == 0
        world.prices = {BACKEND: 6.0 if is_high else 3.0, "tfs-g": 3.0 if is_high else 6.0}
        world.tick()
        leaders.append(max((0, 1), key=lambda arm: shares(world)[arm]))

    # To the other cloud with the first wave, and there it stays.
    assert set(leaders) == {1}


def test_both_copies_of_a_model_stay_while_prices_decide() -> None:
    world = Clouds()
    for _ in range(120):
        world.tick()

    assert world.states() == ["eligible", "eligible"]
    assert min(shares(world)) >= world.dossier.spec.policy.floor - 1e-6


@pytest.mark.parametrize("prices", [{BACKEND: 2.0}, {}], ids=["never calibrated", "no price"])
def test_cost_that_is_not_known_is_null_and_not_nothing(prices: dict[str, float]) -> None:
    world = World(spec(arms=2), [0.5, 0.9], [Line(0.001, 0.0)] * 2)
    world.prices = prices
    if prices:
        world.tick()
    else:
        world.run(lambda world: world.phase == "running")

    for arm in world.view()["arms"]:
        assert (arm["prediction_cost_usd"], arm["value_usd"], arm["score"]) == (None, None, None)
        assert arm["price_usd_per_hour"] == prices.get(BACKEND)


def test_without_a_price_traffic_is_split_equally_and_nothing_ends() -> None:
    world = World(spec(arms=2), [0.5, 0.9], [Line(0.001, 0.0)] * 2)
    world.prices = {}
    for _ in range(100):
        world.tick()

    assert world.phase == "running"
    assert [arm.parts for arm in world.published[-1].arms] == [PARTS // 2] * 2
    world.prices = {BACKEND: 2.0}
    world.run(lambda world: world.phase == "concluded", most_s=200)


def test_price_nobody_can_rely_on_blocks_retirement_and_says_so() -> None:
    words = "the price of backend tfs-a is stale: not read for 9 s"
    world = World(spec(arms=2), [0.5, 0.9], [Line(0.001, 0.0)] * 2)
    world.warnings = {BACKEND: words, "elsewhere": "of no matter here"}
    for _ in range(100):
        world.tick()

    view = world.view()
    assert world.phase == "running"
    assert view["not_ready"] == [f"alarm: {words}"]
    assert [(alarm["name"], alarm["words"]) for alarm in view["alarms"]] == [("price", words)] * 2
