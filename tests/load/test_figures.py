"""The figures of the explanation: their arithmetic on runs made by hand, and that they can be drawn."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from load.figures import draw, worlds
from load.simulate.pool import Task
from load.simulate.run import Result


def result(*rows: list[float], leader: int = 0, best: tuple[int, ...] = (0,), stopped_at: int | None = None) -> Result:
    """A run with this path: the moment of each refresh and the weights from it on."""
    path = np.array(rows)
    return Result(0.0, path[-1, 1:], leader, best, stopped_at, (), path[-1, 1:], path)


def test_rewards_lost_are_what_the_weights_give_up() -> None:
    def play(tasks: Sequence[Task], title: str) -> list[Result]:
        # The arm in the middle is the best, by one reward in a hundred.
        halves = result([0, 0.5, 0.5, 0.0], [50_000, 0.0, 1.0, 0.0])
        return [halves for _ in tasks]

    curves = worlds.regret(2, play)

    assert curves["uniform"].at.tolist() == [50_000, 100_000]
    assert curves["uniform"].lost == pytest.approx(np.array([[250.0, 250.0]] * 2))


def test_a_naive_rule_stops_when_it_is_first_sure_and_only_then() -> None:
    def play(tasks: Sequence[Task], title: str) -> list[Result]:
        if title == "Turpin":
            return [result([0, 0.5, 0.5], leader=1, best=(1,), stopped_at=120_000)] * len(tasks)
        sure = result([0, 0.99, 0.01], [6_000, 0.96, 0.04], [9_000, 0.01, 0.99], best=(1,))
        never = result([0, 0.5, 0.5], [6_000, 0.9, 0.1], best=(1,))
        return [sure, never]

    stops = worlds.rhythm(2, play)

    assert (stops["Turpin"].right.tolist(), stops["Turpin"].wrong.tolist()) == ([120_000, 120_000], [])
    # Not at once, for there was nothing to be sure of; and on the arm that it was sure of then.
    assert (stops["naive"].right.tolist(), stops["naive"].wrong.tolist(), stops["naive"].runs) == ([], [6_000], 2)


def test_every_figure_is_drawn_and_the_same_each_time(tmp_path: Path) -> None:
    at = np.array([1e3, 5e4, 1e5])
    curves = {
        policy: worlds.Curves(at, np.array([[1.0, 5.0, 10.0 + n], [2.0, 6.0, 11.0]]))
        for n, policy in enumerate(("thompson", "epsilon_greedy", "exp3", "ucb1", "uniform"))
    }
    stops = {
        "Turpin": worlds.Stops(np.array([1e5, 2e5]), np.array([]), 2),
        "naive": worlds.Stops(np.array([6e3]), np.array([7e3]), 2),
    }
    shares = worlds.Shares(at, np.array([[0.5, 0.9, 1.0]]), 5e4)

    for turn in ("a", "b"):
        draw.draw_regret(curves, tmp_path / f"regret-{turn}.svg")
        draw.draw_rhythm(stops, tmp_path / f"rhythm-{turn}.svg")
        draw.draw_price(shares, tmp_path / f"price-{turn}.svg")

    for name, words in {"regret": "UCB1", "rhythm": "Turpin, right arm", "price": "thousand requests"}.items():
        first, second = ((tmp_path / f"{name}-{turn}.svg").read_text() for turn in ("a", "b"))
        assert first == second
        assert words in first


def test_a_price_moves_the_traffic_of_the_real_learner() -> None:
    def play(tasks: Sequence[Task], title: str) -> list[Result]:
        # Two looks are enough to see it, and take a hundredth of the time.
        (task,) = tasks
        return worlds.play([replace(task, world=task.world.model_copy(update={"refresh": 50_000}))], title)

    shares = worlds.price(1, play)

    assert shares.at.tolist() == [0, 50_000]
    assert shares.share[0, 1] > 0.8
