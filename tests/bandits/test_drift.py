import math

import numpy as np
import pytest
from numpy.typing import NDArray

from bandits.drift import drifts
from bandits.strata import Outcomes


def outcomes(trials: NDArray[np.int64], wins: NDArray[np.int64]) -> Outcomes:
    n, s = trials.astype(np.float64), wins.astype(np.float64)
    return Outcomes(n, s, s, np.zeros_like(n), np.ones(len(n)))


STEADY = np.full((32, 2), 400)


def test_fall_of_one_arm_rings_and_says_when() -> None:
    wins = np.full((32, 2), (24, 20))
    wins[-4:, 0] = 8

    (alarm,) = drifts(["v1", "v2"], outcomes(STEADY, wins), 0.0, 1.0)

    assert (alarm.name, alarm.arm, alarm.is_ringing) == ("drift", "v1", True)
    assert alarm.words == "arm v1 earned 0.06 before and 0.02 in the last 4 blocks"
    n, m, joint = (28 * 400, 4 * 400), (0.06, 0.02), (28 * 24 + 4 * 8) / (32 * 400)
    by_hand = sum(
        k * (p * math.log(p / joint) + (1 - p) * math.log((1 - p) / (1 - joint))) for k, p in zip(n, m, strict=True)
    )
    assert alarm.log_e == pytest.approx(by_hand)
    assert alarm.bar_log == pytest.approx(1.5 * math.log(32 * 400) - math.log(0.01))


def test_fall_of_all_arms_is_called_by_its_name() -> None:
    wins = np.full((32, 2), (24, 20))
    wins[-4:] = 4

    found = drifts(["v1", "v2"], outcomes(STEADY, wins), -1.0, 10.0)

    assert [alarm.arm for alarm in found] == ["v1", "v2"]
    assert all("all arms moved alike" in alarm.words for alarm in found)
    assert "earned -0.4 before and -0.9 in" in found[0].words


def test_steady_arms_ring_hardly_ever() -> None:
    rng = np.random.default_rng(4)
    runs, rang = 300, 0
    for _ in range(runs):
        wins = rng.binomial(STEADY, 0.05)
        rang += any(drifts(["a", "b"], outcomes(STEADY[:t], wins[:t]), 0.0, 1.0) for t in range(2, 33, 3))

    assert rang / runs <= 0.02 + 4 * math.sqrt(0.02 * 0.98 / runs)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_few_or_no_outcomes_say_nothing(rows: int) -> None:
    assert drifts(["a", "b"], outcomes(STEADY[:rows] // 10, STEADY[:rows] * 0), 0.0, 1.0) == ()


def test_rates_of_nought_and_one_are_finite() -> None:
    wins = STEADY.copy()
    wins[:, 1] = 0
    wins[-3:, 1] = 400

    (alarm,) = drifts(["a", "b"], outcomes(STEADY, wins), 0.0, 1.0)

    assert (alarm.arm, math.isfinite(alarm.log_e)) == ("b", True)
