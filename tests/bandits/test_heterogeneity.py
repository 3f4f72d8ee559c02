"""A constant advantage is no alarm at any size; one that comes and goes is."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import nchypergeom_fisher  # noqa: TID251 - the exact law, for comparison only

from bandits.alarm import BAR_LOG, Alarm
from bandits.heterogeneity import Effects, against_claim, heterogeneity, spread_logs
from bandits.running import RunningSums

Floats = NDArray[np.float64]
NAMES = ("v1", "v2", "v3")


def binary(trials: Floats, successes: Floats, control: int = 0) -> Effects:
    return Effects(control, trials, successes, successes, is_binary=True)


def rung(effects: Effects, cache: RunningSums | None = None) -> Alarm:
    return heterogeneity(NAMES[: effects.trials.shape[1]], effects, cache)


def world(seed: int, rates: Floats, requests: int) -> Effects:
    """Strata of so many requests, split anew in each, with these rates (strata, arms)."""
    rng = np.random.default_rng(seed)
    trials = np.stack([rng.multinomial(requests, rng.dirichlet(np.full(rates.shape[1], 3.0))) for _ in rates])
    return binary(trials.astype(np.float64), rng.binomial(trials, rates).astype(np.float64))


def rhythm(strata: int) -> Floats:
    """Two days' rhythm, -1 to 1 (strata, 1)."""
    return np.sin(np.arange(strata) / strata * 4 * np.pi)[:, None]


def highest(effects: Effects) -> float:
    """The highest log E at any look, of two arms."""
    rows = np.concatenate([effects.trials[:, ::-1], effects.total[:, ::-1]], axis=1)
    summed = np.cumsum(spread_logs(rows), axis=0)
    return max(against_claim(summed[last], rows[: last + 1])[0] for last in range(len(rows)))


@pytest.mark.parametrize("effect", [-0.7, 0.0, 2.1])
def test_constant_effect_is_expected_to_multiply_by_at_most_one(effect: float) -> None:
    tables = [(4, 3, 4), (2, 5, 3), (3, 3, 2)]
    laws = [nchypergeom_fisher(n + m, n, s, math.exp(effect)) for n, m, s in tables]
    expected = 0.0
    for counts in product(*(range(max(0, s - m), min(n, s) + 1) for n, m, s in tables)):
        rows = np.array([(n, m, x, s - x) for (n, m, s), x in zip(tables, counts, strict=True)], np.float64)
        chance = math.prod(law.pmf(x) for law, x in zip(laws, counts, strict=True))
        expected += chance * math.exp(against_claim(spread_logs(rows).sum(axis=0), rows)[0])

    assert expected <= 1.0


@pytest.mark.parametrize(("rate", "requests", "effect"), [(0.05, 200, 0.2), (0.3, 4000, 0.2), (0.5, 20_000, 2.1)])
def test_constant_effect_never_rings_at_any_look(rate: float, requests: int, effect: float) -> None:
    for seed in range(15):
        level = logit(rate) + 0.5 * rhythm(60)

        effects = world(seed, expit(level + np.array([0.0, effect])), requests)

        # Of 45 epochs none is to ring: chance allows .045.
        assert highest(effects) < BAR_LOG, seed


@pytest.mark.parametrize("rates", [(0.05, 0.06), (0.3, 0.33), (0.7, 0.72)])
def test_rhythm_that_multiplies_all_rates_never_rings(rates: tuple[float, float]) -> None:
    effects = world(1, np.array(rates) * (1.0 + 0.25 * rhythm(96)), 20_000)

    assert highest(effects) < BAR_LOG


@pytest.mark.parametrize(("rate", "requests", "swing"), [(0.05, 2_000, 0.6), (0.3, 2_000, 0.35), (0.9, 2_000, 0.5)])
def test_winner_that_changes_with_the_hour_rings(rate: float, requests: int, swing: float) -> None:
    shift = np.concatenate([np.zeros((96, 1)), swing * rhythm(96)], axis=1)

    alarm = rung(world(2, expit(logit(rate) + shift), requests))

    assert (alarm.name, alarm.arm, alarm.is_ringing) == ("heterogeneity", "v2", True)
    assert alarm.words.startswith("the advantage of arm v2 over v1 varies between blocks by about 0.")
    assert alarm.words.endswith("in log odds")


def test_alarm_names_the_arm_whose_advantage_varies() -> None:
    rates = expit(np.concatenate([np.zeros((96, 2)), 0.5 * rhythm(96)], axis=1))

    assert rung(world(3, rates, 4_000)).arm == "v3"


def continuous(seed: int, means: Floats, requests: int, *, is_skewed: bool = False) -> Effects:
    """Rewards around these means (strata, arms), of sd .1, or lognormal of sd 1.3 times the mean."""
    rng = np.random.default_rng(seed)
    shape = (*means.shape, requests)
    values = means[:, :, None] * np.exp(rng.standard_normal(shape) - 0.5) if is_skewed else None
    if values is None:
        values = means[:, :, None] + 0.1 * rng.standard_normal(shape)
    return Effects(
        0, np.full(means.shape, float(requests)), values.sum(axis=2), (values**2).sum(axis=2), is_binary=False
    )


@pytest.mark.parametrize("is_skewed", [False, True])
def test_constant_difference_of_means_never_rings(is_skewed: bool) -> None:
    for seed in range(20):
        means = np.array([0.3, 0.34]) + 0.05 * rhythm(60) * (not is_skewed)

        found = [
            rung(_first(continuous(seed, means, 200, is_skewed=is_skewed), strata)).is_ringing
            for strata in range(5, 61, 5)
        ]

        assert not any(found), seed


def test_difference_of_means_that_changes_rings() -> None:
    means = np.concatenate([np.full((60, 1), 0.3), 0.3 + 0.04 * rhythm(60)], axis=1)

    alarm = rung(continuous(4, means, 200))

    assert (alarm.arm, alarm.is_ringing) == ("v2", True)
    assert alarm.words.endswith("of the reward's sd")


def _first(effects: Effects, strata: int) -> Effects:
    trials, total, square = (field[:strata] for field in (effects.trials, effects.total, effects.square))
    return replace(effects, trials=trials, total=total, square=square)


NOTHING = np.zeros((0, 2))


@pytest.mark.parametrize("is_binary", [True, False])
@pytest.mark.parametrize(
    ("trials", "successes"),
    [
        (NOTHING, NOTHING),
        (np.zeros((3, 2)), np.zeros((3, 2))),
        (np.full((3, 2), 1e9), np.zeros((3, 2))),
        (np.full((3, 2), 1e9), np.full((3, 2), 1e9)),
        (np.array([[100.0, 0.0]]), np.array([[40.0, 0.0]])),
        (np.array([[100.0]]), np.array([[40.0]])),
    ],
    ids=["no strata", "no trials", "all 0", "all 1", "arm without traffic", "one arm"],
)
def test_strata_that_compare_nothing_are_no_evidence(trials: Floats, successes: Floats, is_binary: bool) -> None:
    alarm = rung(Effects(0, trials, successes, successes, is_binary))

    assert alarm.log_e == pytest.approx(0.0, abs=1e-9)
    assert (alarm.is_ringing, alarm.arm) == (False, None)


def test_enormous_strata_stay_finite() -> None:
    trials = np.full((4, 2), 1e9)

    alarm = rung(binary(trials, trials * np.array([[0.5, 0.5], [0.5, 0.9], [0.5, 0.1], [0.999, 0.001]])))

    assert (alarm.log_e, alarm.is_ringing) == (1000.0, True)


def test_order_of_strata_changes_nothing() -> None:
    effects = world(5, expit(logit(0.2) + 0.3 * rhythm(30) * np.array([0.0, 1.0, 0.3])), 500)
    order = np.random.default_rng(1).permutation(30)

    shuffled = rung(binary(effects.trials[order], effects.total[order]))

    assert shuffled.log_e == pytest.approx(rung(effects).log_e, abs=1e-6)


def test_cache_changes_no_answer() -> None:
    effects = world(6, expit(logit(0.2) + 0.3 * rhythm(30) * np.array([0.0, 1.0, 0.3])), 500)
    cache = RunningSums()

    for strata in (1, 10, 30, 30, 7):
        some = _first(effects, strata)
        assert rung(some, cache).log_e == pytest.approx(rung(some).log_e, abs=1e-9)
