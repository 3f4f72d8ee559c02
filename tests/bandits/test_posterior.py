from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import expit

from bandits.posterior import LEVEL_SD, TAU, fit_logit

Floats = NDArray[np.float64]


def log_density(point: Floats, mu: float, trials: Floats, successes: Floats) -> float:
    """The model's log posterior, written down straight from the reference."""
    rows = len(trials)
    alpha, beta = point[:rows], point[rows:]
    logits = alpha[:, None] + beta
    likelihood = (successes * logits - trials * np.logaddexp(0.0, logits)).sum()
    return float(likelihood - (beta**2).sum() / (2 * TAU**2) - ((alpha - mu) ** 2).sum() / (2 * LEVEL_SD**2))


def _minus_log_density(point: Floats, mu: float, trials: Floats, successes: Floats) -> float:
    return -log_density(point, mu, trials, successes)


def brute_force(trials: Floats, successes: Floats, prior_mean: float, strength: float) -> tuple[Floats, Floats]:
    """Maximise over all levels and effects, and repeat until the mean level is its own consequence."""
    rows, arms = trials.shape
    weight = trials.sum(axis=1)
    prior = np.log(prior_mean / (1 - prior_mean))
    point, mu = np.zeros(rows + arms), prior
    for _ in range(300):
        downhill = partial(_minus_log_density, mu=mu, trials=trials, successes=successes)
        point = optimize.minimize(downhill, point, method="BFGS", options={"gtol": 1e-9}).x
        following = float((weight @ point[:rows] + strength * prior) / (weight.sum() + strength))
        if abs(following - mu) < 1e-10:
            break
        mu = following
    return point[:rows], point[rows:]


@pytest.mark.parametrize("seed", range(6))
def test_the_mode_is_what_brute_force_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    trials = rng.integers(0, 60, (4, 3)).astype(np.float64)
    successes = rng.binomial(trials.astype(np.int64), rng.uniform(0.02, 0.98, (4, 3))).astype(np.float64)

    fit = fit_logit(trials, successes, np.full(4, 0.25), 0.05, 20.0)
    alpha, beta = brute_force(trials, successes, 0.05, 20.0)

    assert fit.beta == pytest.approx(beta, abs=2e-5)
    assert fit.alpha == pytest.approx(alpha, abs=2e-5)
    rates = (expit(alpha[:, None] + beta)).mean(axis=0)
    assert fit.theta == pytest.approx(rates, abs=1e-5)
    assert fit.eta == pytest.approx(np.log(rates / (1 - rates)), abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_the_covariance_is_that_of_the_inverse_hessian_carried_to_eta(seed: int) -> None:
    rng = np.random.default_rng(seed)
    trials = rng.integers(5, 200, (5, 3)).astype(np.float64)
    successes = rng.binomial(trials.astype(np.int64), rng.uniform(0.1, 0.9, (5, 3))).astype(np.float64)
    share = rng.dirichlet(np.ones(5))
    fit = fit_logit(trials, successes, share, 0.3)
    mode = np.concatenate([fit.alpha, fit.beta])

    rate = expit(fit.alpha[:, None] + fit.beta)
    w = trials * rate * (1 - rate)
    information = np.diag(np.concatenate([w.sum(axis=1) + LEVEL_SD**-2, w.sum(axis=0) + TAU**-2]))
    information[:5, 5:] = w
    information[5:, :5] = w.T

    def eta(point: Floats) -> Floats:
        theta = share @ expit(point[:5, None] + point[5:])
        return np.asarray(np.log(theta / (1 - theta)), np.float64)

    # The delta method by central differences, over all levels and effects together.
    step = 1e-5
    slopes = np.array([(eta(mode + step * unit) - eta(mode - step * unit)) / (2 * step) for unit in np.eye(8)]).T
    expected = slopes @ np.linalg.inv(information) @ slopes.T

    assert fit.eta_cov == pytest.approx(expected, rel=1e-6)


def test_without_data_the_prior_speaks() -> None:
    fit = fit_logit(np.zeros((1, 2)), np.zeros((1, 2)), np.ones(1), 0.05)

    assert fit.theta == pytest.approx([0.05, 0.05])
    assert fit.eta_cov == pytest.approx(np.diag([TAU**2] * 2) + LEVEL_SD**2)


def test_one_lucky_request_convinces_nobody() -> None:
    # Part I §A: without the prior on the mean level this start gives .993; with it .46.
    fit = fit_logit(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]]), np.ones(1), 0.05)

    assert 0.3 < fit.theta[0] < 0.6


def test_a_common_rhythm_falls_out() -> None:
    # The better arm got its traffic while all arms were bad: pooled, it looks worse (.19 against .46).
    trials = np.array([[9000.0, 1000.0], [1000.0, 9000.0]])
    logits = np.array([[0.0], [-2.0]]) + np.array([0.0, 0.3])
    fit = fit_logit(trials, trials * expit(logits), np.full(2, 0.5), 0.05)

    assert fit.beta[1] - fit.beta[0] == pytest.approx(0.3, abs=0.01)
    assert fit.theta[1] > fit.theta[0]


@pytest.mark.parametrize("shape", ["equal", "starved"])
def test_strata_of_twenty_requests_per_arm_are_nearly_unbiased(shape: str) -> None:
    # Part I §A: true .405 reads .41 at 20 per arm and block. With 36 to 4 the total is what counts.
    rng = np.random.default_rng(3)
    per_arm = np.array([20.0, 20.0]) if shape == "equal" else np.array([36.0, 4.0])
    trials = np.tile(per_arm, (3000, 1))
    logits = rng.normal(0.0, 0.5, (3000, 1)) + np.array([0.0, 0.405])
    successes = rng.binomial(trials.astype(np.int64), expit(logits)).astype(np.float64)

    fit = fit_logit(trials, successes, np.full(3000, 1 / 3000), 0.5)

    # The information of a stratum is n m / (n + m) p q; a bias of .02 is allowed, 5 %.
    standard_error = (3000 * per_arm.prod() / per_arm.sum() * 0.24) ** -0.5
    assert fit.beta[1] - fit.beta[0] == pytest.approx(0.405, abs=0.02 + 4 * standard_error)


EXTREMES = {
    "all 0": ([[500.0, 500.0]], [[0.0, 0.0]]),
    "all 1": ([[500.0, 500.0]], [[500.0, 500.0]]),
    "one all 1, one all 0": ([[300.0, 300.0]], [[300.0, 0.0]]),
    "an arm without traffic": ([[300.0, 0.0], [200.0, 0.0]], [[30.0, 0.0], [10.0, 0.0]]),
    "a billion requests": ([[1e9, 1e9]], [[5e7, 5.1e7]]),
    "a billion, all 1": ([[1e9, 1e9]], [[1e9, 1e9]]),
    "strata far apart": ([[1e6, 1e6], [1e6, 1e6]], [[1e6, 1e6], [0.0, 0.0]]),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_extremes_stay_finite(name: str) -> None:
    trials, successes = (np.array(table) for table in EXTREMES[name])
    fit = fit_logit(trials, successes, np.full(len(trials), 1 / len(trials)), 0.05)

    assert np.isfinite(fit.eta).all()
    assert np.isfinite(fit.eta_cov).all()
    assert (np.linalg.eigvalsh(fit.eta_cov) > 0).all()
    assert ((fit.theta > 0) & (fit.theta <= 1)).all()


tables = st.integers(1, 5).flatmap(
    lambda rows: st.integers(1, 4).flatmap(
        lambda arms: st.lists(
            st.tuples(st.sampled_from([0, 1, 3, 50, 10_000, 10**8]), st.floats(0.0, 1.0) | st.sampled_from([0.0, 1.0])),
            min_size=rows * arms,
            max_size=rows * arms,
        ).map(lambda cells: np.array(cells).reshape(rows, arms, 2))
    )
)


@settings(deadline=None)
@given(tables, st.sampled_from([0.001, 0.05, 0.9]))
def test_the_fixed_point_has_no_gradient_left(table: Floats, prior_mean: float) -> None:
    trials, successes = table[..., 0], np.floor(table[..., 0] * table[..., 1])
    fit = fit_logit(trials, successes, np.full(len(trials), 1 / len(trials)), prior_mean)

    weight = trials.sum(axis=1)
    prior = np.log(prior_mean / (1 - prior_mean))
    mu = (weight @ fit.alpha + 20 * prior) / (weight.sum() + 20)
    residual = successes - trials * expit(fit.alpha[:, None] + fit.beta)
    # Sums of up to 4e8 are rounded at 1e-7.
    close = 1e-6 + 1e-15 * float(trials.sum())
    assert residual.sum(axis=0) - fit.beta / TAU**2 == pytest.approx(np.zeros(trials.shape[1]), abs=close)
    assert residual.sum(axis=1) - (fit.alpha - mu) / LEVEL_SD**2 == pytest.approx(np.zeros(len(trials)), abs=close)
