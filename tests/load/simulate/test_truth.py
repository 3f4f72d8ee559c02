"""What really happens in a world, against the formulas it is made from."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import integrate

from load.simulate.truth import Truth
from load.simulate.world import World
from router.config.document import validate

STEPS = 1 << 16


def truth(**more: Any) -> Truth:
    return Truth(validate(World, {"requests": 100_000, "arms": [{"rate": 0.2}, {"rate": 0.3}]} | more))


@pytest.mark.parametrize("phase", [0.0, 0.75])
def test_rates_follow_the_rhythm_on_average_over_a_span(phase: float) -> None:
    [span] = truth(cycle={"period": 4000, "amplitude": 0.5, "phase": phase}).spans(700, 1900)

    mean = integrate.quad(lambda t: 1 + 0.5 * math.sin(2 * math.pi * (t / 4000 + phase)), 700, 1900)[0] / 1200
    assert span.rate == pytest.approx([0.2 * mean, 0.3 * mean])


def test_rhythm_of_the_odds_keeps_rates_below_1() -> None:
    [span] = truth(
        arms=[{"rate": 0.9}, {"rate": 0.99}], cycle={"period": 4000, "amplitude": 0.5, "shape": "logit"}
    ).spans(1000, 1000)

    # At a quarter of the period the odds are one and a half times what they were.
    assert span.rate / (1 - span.rate) == pytest.approx([1.5 * 9, 1.5 * 99])


def test_spans_are_cut_where_something_changes() -> None:
    of = truth(
        changes=[
            {"at": 500, "arm": 0, "rate": 0.4},
            {"at": 700, "arm": 1, "cost_usd": 0.25},
            {"at": 700, "arm": 0, "delay_mean": 9},
        ]
    )
    spans = of.spans(0, 1000)

    assert [(span.begin, span.end) for span in spans] == [(0, 500), (500, 700), (700, 1000)]
    assert [span.value.tolist() for span in spans] == [[0.2, 0.3], [0.4, 0.3], [0.4, pytest.approx(0.05)]]
    assert [of.best(at) for at in (499, 500, 800)] == [[1], [0], [0]]
    assert of.costs_usd(700).tolist() == [0.0, 0.25]


def test_equal_arms_are_all_best() -> None:
    arms = [{"rate": 0.3}, {"rate": 0.2}, {"rate": 0.5, "cost_usd": 0.4}]

    assert truth(arms=arms, value_usd=2.0).best(0) == [0, 2]


def drawn(of: Truth, count: int = 40_000, seed: int = 1) -> Any:
    [span] = of.spans(0, 1000)
    return of.rewards(span, np.array([count, count]), 3, np.random.default_rng(seed))


def test_immediate_rewards_come_as_sums() -> None:
    sums, later = drawn(truth())

    won = sums[:, 1] / STEPS
    assert later.at.size == 0
    assert sums[:, 0].tolist() == [40_000, 40_000]
    assert (sums[:, 2] == sums[:, 1] * STEPS).all()
    assert np.abs(won / 40_000 - [0.2, 0.3]).max() < 4 * math.sqrt(0.25 / 40_000)


def test_conversions_report_successes_alone() -> None:
    sums, _ = drawn(truth(feedback="conversions"))

    assert (sums[:, 0] == sums[:, 1] / STEPS).all()


def test_delays_are_exponential_and_their_sums_are_not_lost() -> None:
    _, later = drawn(truth(arms=[{"rate": 0.2, "delay_mean": 300.0}, {"rate": 0.3, "delay_mean": 20.0}]))

    for arm, mean in ((0, 300.0), (1, 20.0)):
        mine = later.arm == arm
        delays = (later.at - later.earned)[mine]
        assert mine.sum() == 40_000
        # Mean and spread of an exponential are the same; four standard errors of each.
        assert delays.mean() == pytest.approx(mean, rel=4 / math.sqrt(40_000))
        assert delays.std() == pytest.approx(mean, rel=4 * math.sqrt(2 / 40_000))
    assert set(later.block.tolist()) == {3}
    assert later.earned.min() >= 0
    assert later.earned.max() < 1000


def test_mixed_delays_have_both_parts() -> None:
    arms = [{"rate": 1.0, "delay_mean": 10.0, "slow": {"share": 0.4, "delay_mean": 10_000.0}}, {"rate": 0.3}]
    _, later = drawn(truth(arms=arms))

    # Of the fast ones hardly any takes 100, of the slow ones 1 % less.
    assert ((later.at - later.earned) > 100).mean() == pytest.approx(0.4 * math.exp(-0.01), abs=0.01)


def test_what_comes_after_the_window_is_lost() -> None:
    _, later = drawn(truth(arms=[{"rate": 0.2, "delay_mean": 300.0}, {"rate": 0.3, "delay_mean": 300.0}], window=300.0))

    assert (later.at - later.earned).max() <= 300
    assert later.at.size / 80_000 == pytest.approx(1 - math.exp(-1), abs=0.01)


@pytest.mark.parametrize(
    ("reward", "spread"),
    [
        ({"law": "gaussian", "spread": 0.5, "range": [-10, 10]}, 0.5),
        ({"law": "lognormal", "spread": 1.0, "range": [0, 200]}, 0.3 * math.sqrt(math.e - 1)),
        ({"law": "beta", "spread": 4.0, "range": [0, 1]}, math.sqrt(0.3 * 0.7 / 5)),
        ({"law": "sparse", "spread": 0.05, "range": [0, 400]}, 0.3 * math.sqrt(math.e / 0.05 - 1)),
    ],
)
def test_continuous_rewards_have_their_mean_and_spread(reward: dict[str, Any], spread: float) -> None:
    sums, _ = drawn(truth(reward=reward, arms=[{"rate": 0.3}, {"rate": 0.3}]))

    low, high = reward["range"]
    mean = low + (high - low) * sums[:, 1] / 40_000 / STEPS
    square = (high - low) ** 2 * (sums[:, 2] / 40_000 - (sums[:, 1] / 40_000) ** 2) / STEPS**2
    assert mean == pytest.approx([0.3, 0.3], abs=4 * spread / 200)
    # Heavy tails know their spread badly.
    assert np.sqrt(square) == pytest.approx([spread, spread], rel=0.25)
