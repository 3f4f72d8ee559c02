"""How far levels lie apart is found, and what is believed follows from it; what is claimed does not."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import expit

from bandits import binary
from bandits.assess import ArmFacts, Question
from bandits.evidence import GridCache
from bandits.levels import spread_of
from bandits.posterior import LEVEL_SD, LogitFit, fit_logit
from bandits.rules import Objective, Policy, StopRule
from bandits.strata import Outcomes
from bandits.sums import Sums

Floats = NDArray[np.float64]


def world(spread: float, strata: int, seed: int, each: int = 5_000) -> tuple[Floats, Floats]:
    """Two arms at about 5 %, the second 10 % better, shared out as the mood is; levels with this spread."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(0.05, 0.95, (strata, 1))
    trials = np.round(each * np.hstack([share, 1.0 - share]))
    level = -3.0 + rng.normal(0.0, spread, (strata, 1))
    return trials, rng.binomial(trials.astype(int), expit(level + np.array([0.0, 0.1]))).astype(np.float64)


def fitted(trials: Floats, successes: Floats) -> LogitFit:
    return fit_logit(trials, successes, np.full(len(trials), 1.0 / len(trials)), 0.05)


@pytest.mark.parametrize("spread", [0.1, 0.35, 1.0])
def test_spread_of_levels_is_found_from_above(spread: float) -> None:
    found = []
    for seed in range(20):
        trials, successes = world(spread, 60, seed)
        found.append(spread_of(trials, successes, fitted(trials, successes)))

    # A standard error of a spread is about spread / sqrt(2 x 60), a little more for the levels' own errors of .065; one of
    # them is added on purpose, and the steps are 14 % wide.
    error = spread * 1.3 / math.sqrt(120)
    assert np.mean(found) == pytest.approx(spread + error, abs=4 * error / math.sqrt(20) + 0.07 * spread)


def test_equal_levels_are_known_to_be_near_and_few_are_left_open() -> None:
    many: list[float] = []
    few: list[float] = []
    for seed in range(20):
        for strata, found in ((60, many), (3, few)):
            trials, successes = world(0.0, strata, seed)
            found.append(spread_of(trials, successes, fitted(trials, successes)))

    # Each level is known to .065: sixty of them to a spread of about .03.
    assert np.mean(many) < 0.04
    assert np.mean(few) > 2 * np.mean(many)


def test_without_data_levels_are_as_free_as_the_reference_has_them() -> None:
    nothing = np.zeros((1, 2))

    assert spread_of(nothing, nothing, fitted(nothing, nothing)) == pytest.approx(LEVEL_SD)


def believed(trials: Floats, successes: Floats) -> binary.LogitBelief:
    rows = len(trials)
    n, s = trials.astype(np.int64), successes.astype(np.int64)
    asked = Question(
        (ArmFacts("a", 0.0), ArmFacts("b", 0.0)),
        0,
        Sums(np.arange(rows), n, n, s, s),
        rows,
        1.0,
        Objective(1.0),
        Policy(),
        StopRule(cycle_s=None),
        rows,
    )
    known = Outcomes(trials, successes, successes, np.zeros_like(trials), np.full(rows, 1.0 / rows))
    return binary.believe(asked, known, known, 2, GridCache())


def sd_of_difference(fit: LogitFit) -> float:
    step = np.array([1.0, -1.0])
    return math.sqrt(step @ fit.eta_cov @ step)


@pytest.mark.parametrize("sd", [0.02, 0.1, 0.5])
def test_fit_with_levels_near_each_other_is_the_mode_of_its_law(sd: float) -> None:
    # Large strata with other levels than small ones, and arms that had them in other shares.
    rng = np.random.default_rng(8)
    trials = np.array([[500.0, 500.0]] * 3 + [[900.0, 100.0]] * 3 + [[7800.0, 200.0]] * 2)
    successes = rng.binomial(trials.astype(int), expit(np.array([-3.1] * 6 + [-2.9] * 2))[:, None]).astype(np.float64)
    fit = fit_logit(trials, successes, np.full(8, 0.125), 0.05, 20.0, sd)

    def minus_log(at: Floats) -> float:
        alpha, beta, mu = at[:8], at[8:10], at[10]
        logits = alpha[:, None] + beta
        likelihood = (successes * logits - trials * np.logaddexp(0.0, logits)).sum()
        prior = (
            ((alpha - mu) ** 2).sum() / sd**2 + (beta**2).sum() + 20 * 0.05 * 0.95 * (mu - math.log(0.05 / 0.95)) ** 2
        )
        return float(prior / 2 - likelihood)

    found = optimize.minimize(minus_log, np.array([*fit.alpha, *fit.beta, fit.alpha.mean()]), method="BFGS")
    assert fit.beta == pytest.approx(found.x[8:10], abs=2e-3)
    assert fit.alpha == pytest.approx(found.x[:8], abs=2e-3)
    # It knows no more than if all levels were one.
    arms = trials * (successes.sum(axis=0) / trials.sum(axis=0)) * (1 - successes.sum(axis=0) / trials.sum(axis=0))
    assert sd_of_difference(fit) > 0.98 * math.sqrt((1 / arms.sum(axis=0)).sum())
    again = fit_logit(trials, successes, np.full(8, 0.125), 0.05, 20.0, sd, fitted(trials, successes))
    assert again.beta == pytest.approx(fit.beta, abs=1e-8)


def test_arms_that_had_their_traffic_at_different_times_are_compared_when_levels_are_alike() -> None:
    # One arm got nearly all of the first half, the other of the second.
    trials = np.array([[4950.0, 50.0]] * 30 + [[50.0, 4950.0]] * 30)
    successes = np.random.default_rng(3).binomial(trials.astype(int), 0.05).astype(np.float64)
    found = believed(trials, successes)

    pooled = math.sqrt(2.0 / (150_000 * 0.05 * 0.95))
    within = math.sqrt(1.0 / (60 * 50 * 0.99 * 0.05 * 0.95))
    assert sd_of_difference(found.fit) == pytest.approx(within, rel=0.1)
    assert pooled < sd_of_difference(found.near) < 0.35 * within
    # What is claimed rests on the strata alone.
    assert found.ends(0) == pytest.approx(
        expit(found.fit.eta[0] + np.array([-2.5758, 2.5758]) * math.sqrt(found.fit.eta_cov[0, 0]))
    )


@pytest.mark.parametrize("amplitude", [0.0, 0.02, 0.06, 0.15, 0.5])
def test_what_is_believed_is_as_wrong_as_it_says_under_any_rhythm(amplitude: float) -> None:
    # The first half has more of the day and the second more of the night, and each belongs to one arm: the worst there is.
    trials = np.array([[4950.0, 50.0]] * 30 + [[50.0, 4950.0]] * 30)
    wave = 0.05 * (1.0 + amplitude * np.sin(2 * np.pi * np.arange(60) / 20))[:, None]
    squares, widths = [], []
    for seed in range(20):
        successes = np.random.default_rng(seed).binomial(trials.astype(int), wave).astype(np.float64)
        found = believed(trials, successes)
        squares.append(((found.near.eta[0] - found.near.eta[1]) / sd_of_difference(found.near)) ** 2)
        widths.append(sd_of_difference(found.near) / sd_of_difference(found.fit))

    # Squares of a standard normal: of mean 1, each with a standard deviation of sqrt 2.
    assert np.mean(squares) <= 1.0 + 4 * math.sqrt(2 / 20)
    # A rhythm that is plain leaves the comparison within strata; without one much more is known.
    if amplitude == 0.5:
        assert np.mean(widths) > 0.9
    if amplitude == 0.0:
        assert np.mean(widths) < 0.45
