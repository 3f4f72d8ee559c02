import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate

from bandits.decide import Belief, Beta, Gamma, NormalInverseGamma, decide

Floats = NDArray[np.float64]


def beliefs_of(kind: str, rng: np.random.Generator, arms: int) -> list[Belief]:
    made: list[Belief] = []
    for _ in range(arms):
        if kind == "beta":
            made.append(Beta(10 ** rng.uniform(-0.5, 4), 10 ** rng.uniform(-0.5, 4)))
        elif kind == "gamma":
            made.append(Gamma(10 ** rng.uniform(-0.5, 4), 10 ** rng.uniform(0, 4)))
        else:
            made.append(
                NormalInverseGamma(rng.normal(), rng.uniform(1, 300), rng.uniform(1.2, 100), rng.uniform(0.1, 100))
            )
    return made


def drawn(belief: Belief, rng: np.random.Generator, draws: int) -> Floats:
    match belief:
        case Beta(a, b):
            return rng.beta(a, b, draws)
        case Gamma(shape, rate):
            return rng.gamma(shape, 1 / rate, draws)
        case NormalInverseGamma(m, kappa, alpha, beta):
            return np.asarray(m + math.sqrt(beta / (alpha * kappa)) * rng.standard_t(2 * alpha, draws), np.float64)
        case _:
            raise AssertionError(belief)


@pytest.mark.parametrize("kind", ["beta", "gamma", "nig"])
@pytest.mark.parametrize("seed", range(5))
def test_quadrature_agrees_with_random_draws(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arms, draws = int(rng.integers(2, 6)), 200_000
    some = beliefs_of(kind, rng, arms)
    v = 10 ** rng.uniform(-6, 2)
    spread = v * float(np.median([belief.sd for belief in some]))
    costs, delta = rng.uniform(0, 2 * spread, arms).tolist(), float(rng.uniform(0, spread))
    u = np.array([v * drawn(belief, rng, draws) - cost for belief, cost in zip(some, costs, strict=True)])

    found = decide(some, v, costs, delta)

    others = np.array([np.delete(u, k, axis=0).max(axis=0) for k in range(arms)])
    # Four standard errors, and a handful of draws where an event is so rare that it has no estimate of its error.
    p_best = np.bincount(u.argmax(axis=0), minlength=arms) / draws
    assert (np.abs(found.p_best - p_best) <= 4 * np.sqrt(p_best / draws) + 10 / draws).all()
    exceed = (others[found.leader] > u[found.leader] + delta).mean()
    assert abs(found.pvr_exceed - exceed) <= 4 * math.sqrt(exceed / draws) + 10 / draws
    for k in range(arms):
        gain = np.maximum(u[k] - others[k], 0.0)
        if (gain > 0).sum() > 100:
            assert abs(found.drop[k] - gain.mean()) <= 5 * gain.std() / math.sqrt(draws)
    loss = np.maximum(others[found.leader] - u[found.leader], 0.0)
    if (loss > 0).sum() > 100:
        assert abs(found.exp_loss_leader - loss.mean()) <= 5 * loss.std() / math.sqrt(draws)


@pytest.mark.parametrize("kind", ["beta", "gamma", "nig"])
@pytest.mark.parametrize("seed", range(3))
def test_quadrature_agrees_with_adaptive_integration(kind: str, seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    first, second = beliefs_of(kind, rng, 2)
    cost = float(rng.uniform(0, first.sd))
    found = decide([first, second], 1.0, [cost, 0.0], 0.0)

    # In steps of the first belief's quantiles, so that the adaptive rule can't miss a peak.
    cuts = np.concatenate([10.0 ** -np.arange(12, 1, -1), np.linspace(0.05, 0.95, 40), 1 - 10.0 ** -np.arange(2, 13)])
    edges = np.union1d(first.quantile(cuts) - cost, second.quantile(cuts))

    def below(belief: Belief, theta: float) -> float:
        return float(belief.below(np.array(theta)))

    p_first = sum(
        integrate.quad(lambda u: float(first.density(np.array(u + cost))) * below(second, u), low, high)[0]
        for low, high in itertools.pairwise(edges)
    )
    drop_first = sum(
        integrate.quad(lambda u: (1 - below(first, u + cost)) * below(second, u), low, high)[0]
        for low, high in itertools.pairwise(edges)
    )
    assert found.p_best[0] == pytest.approx(p_first, abs=1e-5)
    if drop_first > 1e-7 * first.sd:
        assert found.drop[0] == pytest.approx(drop_first, rel=1e-3)


def test_two_equal_normals_by_hand() -> None:
    # With 2e6 degrees of freedom Student's t is normal: E[max] of two standard normals is 1 / sqrt(pi).
    wide = NormalInverseGamma(0.0, 1.0, 1e6, 1e6)
    found = decide([wide, wide], 1.0, [0.0, 0.0], 1.0)

    assert found.p_best == pytest.approx([0.5, 0.5], abs=1e-6)
    assert found.e_max == pytest.approx(1 / math.sqrt(math.pi), rel=1e-4)
    assert found.exp_loss_leader == pytest.approx(found.e_max, rel=1e-9)
    # P(N(0, 2) > 1).
    assert found.pvr_exceed == pytest.approx(0.5 * math.erfc(0.5), abs=1e-5)


def test_one_arm_is_always_best() -> None:
    found = decide([Beta(3, 7)], 2.0, [0.1], 0.0)

    assert (found.p_best.tolist(), found.leader, found.exp_loss_leader, found.pvr_exceed) == ([1.0], 0, 0.0, 0.0)
    assert found.e_max == pytest.approx(0.5)


def test_beliefs_as_sharp_as_a_billion_requests() -> None:
    found = decide([Beta(5e7, 9.5e8), Beta(5.01e7, 9.499e8)], 1.0, [0.0, 0.0], 1e-6)

    assert found.p_best == pytest.approx([0.0, 1.0], abs=1e-9)
    assert found.e_max == pytest.approx(0.0501, rel=1e-9)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32), st.sampled_from(["beta", "gamma", "nig"]), st.integers(1, 5), st.sampled_from([1e-6, 1e4])
)
def test_money_scales_and_the_sums_fit(seed: int, kind: str, arms: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    some = beliefs_of(kind, rng, arms)
    costs = rng.uniform(0, some[0].sd, arms)

    one = decide(some, 1.0, costs.tolist(), 0.1 * some[0].sd)
    other = decide(some, factor, (costs * factor).tolist(), 0.1 * some[0].sd * factor)

    assert one.p_best.sum() == pytest.approx(1.0)
    # The grid's edges are rounded anew: a thousandth of what the quadrature itself is off by.
    assert other.p_best == pytest.approx(one.p_best, abs=1e-6)
    assert other.pvr_exceed == pytest.approx(one.pvr_exceed, abs=1e-6)
    assert other.exp_loss_leader == pytest.approx(one.exp_loss_leader * factor, rel=1e-6, abs=1e-12 * factor)
    assert one.e_max >= one.mean.max() - 1e-9
    assert one.drop[one.leader] >= 0.0


def test_what_is_no_belief_is_refused() -> None:
    with pytest.raises(ValueError, match="a must be a finite number above 0, got 0"):
        Beta(0.0, 1.0)
    with pytest.raises(ValueError, match="rate must be"):
        Gamma(1.0, math.inf)
    with pytest.raises(ValueError, match=r"alpha above 0\.5"):
        NormalInverseGamma(0.0, 1.0, 0.4, 1.0)
    with pytest.raises(ValueError, match="a cost for each"):
        decide([Beta(1, 1)], 1.0, [], 0.0)
    with pytest.raises(ValueError, match="a cost for each"):
        decide([], 1.0, [], 0.0)
    with pytest.raises(ValueError, match="v must be above 0"):
        decide([Beta(1, 1)], 0.0, [0.0], 0.0)
