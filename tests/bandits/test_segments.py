import time
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import expit, logit, logsumexp

from bandits.posterior import LEVEL_SD, TAU, fit_logit
from bandits.segments import (
    SPREADS,
    SegmentFit,
    fit_segments,
    joined,
    refresh,
)
from bandits.strata import Outcomes
from bandits.sums import ARMS_PER_SEGMENT, SEGMENTS_MAX, cell_arm

Floats = NDArray[np.float64]
PRIOR, STRENGTH = 0.3, 20.0


def outcomes_of(trials: Floats, successes: Floats, share: Floats | None = None) -> Outcomes:
    """Strata (T, K) of one segment; shares by traffic unless they are given."""
    if share is None:
        traffic = trials.sum(axis=1)
        share = traffic / traffic.sum() if traffic.sum() > 0 else np.full(len(trials), 1.0 / max(1, len(trials)))
    return Outcomes(trials, successes, successes, trials * 0.0, share)


def random_segments(rng: np.random.Generator, segments: int, arms: int, least: int, most: int) -> list[Outcomes]:
    """One to three strata a segment with any rates."""
    found = []
    for _ in range(segments):
        rows = int(rng.integers(1, 4))
        trials = rng.integers(least, most, (rows, arms))
        successes = rng.binomial(trials, rng.uniform(0.05, 0.95, (rows, arms)))
        found.append(outcomes_of(trials.astype(np.float64), successes.astype(np.float64), rng.dirichlet(np.ones(rows))))
    return found


class Model:
    """The model as the reference states it: one long vector of levels, then effects segment by segment."""

    def __init__(self, segments: list[Outcomes], spread: float) -> None:
        self.trials = np.concatenate([one.trials for one in segments])
        self.successes = np.concatenate([one.total for one in segments])
        self.rows = [len(one.trials) for one in segments]
        self.of_row = np.repeat(np.arange(len(segments)), self.rows)
        self.shape = (len(segments), self.trials.shape[1])
        self.prior = np.linalg.inv(TAU**2 + spread**2 * np.eye(len(segments)))

    def split(self, points: Floats) -> tuple[Floats, Floats]:
        """Take points (..., R + G K) apart into levels (..., R) and effects (..., G, K)."""
        rows = len(self.trials)
        return points[..., :rows], points[..., rows:].reshape(*points.shape[:-1], *self.shape)

    def log_density(self, points: Floats, mu: Floats) -> Floats:
        """Return the log posterior (...) at points, without the effects' constants."""
        alpha, beta = self.split(points)
        logits = alpha[..., None] + beta[..., self.of_row, :]
        likelihood = (self.successes * logits - self.trials * np.logaddexp(0.0, logits)).sum(axis=(-2, -1))
        effects = np.einsum("...gk,gh,...hk->...", beta, self.prior, beta)
        levels = ((alpha - mu[self.of_row]) ** 2).sum(axis=-1) / LEVEL_SD**2
        return np.asarray(likelihood - effects / 2 - levels / 2, np.float64)

    def means(self, alpha: Floats) -> Floats:
        """Return each segment's mean level, at the prior's for so many trials."""
        weight = self.trials.sum(axis=1)
        own = np.add.reduceat(weight * alpha, np.cumsum([0, *self.rows[:-1]]))
        total = np.add.reduceat(weight, np.cumsum([0, *self.rows[:-1]]))
        return np.asarray((own + STRENGTH * logit(PRIOR)) / (total + STRENGTH), np.float64)

    def mode(self) -> Floats:
        """Maximise over everything, and repeat until the mean levels are their own consequence."""
        point, mu = np.zeros(len(self.trials) + self.shape[0] * self.shape[1]), np.zeros(self.shape[0])
        for _ in range(300):
            downhill = partial(self._minus_log, mu=mu)
            point = optimize.minimize(downhill, point, method="BFGS", options={"gtol": 1e-8}).x
            following = self.means(self.split(point)[0])
            if np.abs(following - mu).max() < 1e-9:
                break
            mu = following
        return point

    def _minus_log(self, point: Floats, mu: Floats) -> float:
        return -float(self.log_density(point, mu))

    def information(self, point: Floats) -> Floats:
        """Return the curvature at a point by itself, parameter by parameter."""
        alpha, beta = self.split(point)
        rate = expit(alpha[:, None] + beta[self.of_row])
        w = self.trials * rate * (1 - rate)
        rows, (segments, arms) = len(alpha), self.shape
        found = np.diag(np.concatenate([w.sum(axis=1) + LEVEL_SD**-2, np.zeros(segments * arms)]))
        for row, segment in enumerate(self.of_row):
            for arm in range(arms):
                effect = rows + segment * arms + arm
                found[effect, effect] += w[row, arm]
                found[row, effect] += w[row, arm]
                found[effect, row] += w[row, arm]
        for arm in range(arms):
            own = rows + np.arange(segments) * arms + arm
            found[np.ix_(own, own)] += self.prior
        return np.asarray(found, np.float64)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spread", [0.03, 0.3])
def test_the_mode_is_what_brute_force_finds(seed: int, spread: float) -> None:
    segments = random_segments(np.random.default_rng(seed), 3, 2, 0, 60)
    model = Model(segments, spread)

    fit = fit_segments(segments, spread, PRIOR, STRENGTH)
    alpha, beta = model.split(model.mode())

    assert fit.beta == pytest.approx(beta, abs=1e-4)
    assert fit.overall.alpha == pytest.approx(alpha, abs=1e-4)
    assert np.concatenate([one.alpha for one in fit.segments]) == pytest.approx(alpha, abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_rates_and_covariances_follow_from_the_mode_and_its_curvature(seed: int) -> None:
    segments = random_segments(np.random.default_rng(seed), 3, 3, 5, 200)
    model = Model(segments, 0.1)
    fit = fit_segments(segments, 0.1, PRIOR, STRENGTH)
    point = np.concatenate([fit.overall.alpha, fit.beta.ravel()])
    traffic = np.array([one.trials.sum() for one in segments])
    ends = np.cumsum(model.rows)

    def etas(at: Floats) -> Floats:
        """Return logit rates (4, K): of the three segments, and of all traffic."""
        alpha, beta = model.split(at)
        rates = [segments[g].share @ expit(alpha[ends[g] - model.rows[g] : ends[g], None] + beta[g]) for g in range(3)]
        return np.asarray(logit(np.array([*rates, traffic @ np.array(rates) / traffic.sum()])), np.float64)

    step = 1e-5
    slopes = np.array(
        [(etas(point + step * unit) - etas(point - step * unit)) / (2 * step) for unit in np.eye(point.size)]
    )
    cov = np.linalg.inv(model.information(point))

    for number, one in enumerate([*fit.segments, fit.overall]):
        assert one.eta == pytest.approx(etas(point)[number], abs=1e-9)
        assert one.theta == pytest.approx(expit(etas(point)[number]))
        assert one.eta_cov == pytest.approx(slopes[:, number].T @ cov @ slopes[:, number], rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_marginal_likelihood_is_what_sampling_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    trials = rng.integers(200, 800, (2, 1, 2))
    successes = rng.binomial(trials, rng.uniform(0.3, 0.7, (2, 1, 2)))
    segments = [outcomes_of(n.astype(np.float64), s.astype(np.float64)) for n, s in zip(trials, successes, strict=True)]
    by_laplace, by_sampling, errors = [], [], []
    for spread in SPREADS:
        fit, model = fit_segments(segments, spread, PRIOR, STRENGTH), Model(segments, spread)
        point = np.concatenate([fit.overall.alpha, fit.beta.ravel()])
        # Importance sampling around the mode, from a Student t of 8 degrees: its tails are heavier than the target's.
        root = np.linalg.cholesky(np.linalg.inv(model.information(point)))
        size, nu = point.size, 8.0
        drawn = rng.normal(size=(100_000, size)) / np.sqrt(rng.chisquare(nu, (100_000, 1)) / nu)
        proposal = -(nu + size) / 2 * np.log1p((drawn**2).sum(axis=1) / nu) - np.log(np.diag(root)).sum()
        weight = model.log_density(point + drawn @ root.T, model.means(fit.overall.alpha)) - proposal
        # The prior of the two arms' effects has a constant that depends on the spread.
        by_sampling.append(
            logsumexp(weight) - np.log(weight.size) + model.shape[1] / 2 * np.linalg.slogdet(model.prior)[1]
        )
        scaled = np.exp(weight - weight.max())
        errors.append(scaled.std() / scaled.mean() / np.sqrt(weight.size))
        by_laplace.append(fit.log_marginal)

    # Only differences count. Laplace's own error is of the order 1 / successes.
    gap = np.diff(np.array(by_laplace) - np.array(by_sampling))
    assert gap == pytest.approx(np.zeros(3), abs=4 * np.sqrt(2) * max(errors) + 0.02)


def test_the_marginal_likelihood_is_laplace_to_the_letter() -> None:
    segments = random_segments(np.random.default_rng(4), 3, 2, 5, 50)
    expected, found = [], []
    for spread in SPREADS:
        fit, model = fit_segments(segments, spread, PRIOR, STRENGTH), Model(segments, spread)
        point = np.concatenate([fit.overall.alpha, fit.beta.ravel()])
        volume = np.linalg.slogdet(model.information(point))[1] - 2 * np.linalg.slogdet(model.prior)[1]
        expected.append(model.log_density(point, model.means(fit.overall.alpha)) - volume / 2)
        found.append(fit.log_marginal)

    assert found == pytest.approx(expected, abs=1e-6)


def simulated(rng: np.random.Generator, effects: Floats, each: int, rows: int = 20) -> list[Outcomes]:
    """`each` requests a stratum and arm, with a level that moves; effects (G, K)."""
    found = []
    for effect in effects:
        rates = expit(rng.normal(-1.0, 0.3, (rows, 1)) + effect)
        trials = np.full(rates.shape, each)
        found.append(outcomes_of(trials.astype(np.float64), rng.binomial(trials, rates).astype(np.float64)))
    return found


@pytest.mark.parametrize(("spread", "least", "most"), [(0.0, 0.01, 0.03), (0.1, 0.1, 0.1), (0.4, 0.3, 0.3)])
def test_the_spread_of_the_world_is_chosen(spread: float, least: float, most: float) -> None:
    rng = np.random.default_rng(7)
    effects = np.array([0.0, 0.1, 0.2, 0.3]) + spread * rng.normal(size=(8, 4))

    fit = refresh(simulated(rng, effects, 1000), PRIOR, STRENGTH, None)

    assert least <= fit.spread <= most


def test_segments_that_do_not_interact_are_known_as_well_as_one() -> None:
    # An effect is known to .034 by a fit that takes the four for one; a spread of .01 adds little to that.
    segments = simulated(np.random.default_rng(3), np.tile([0.0, 0.2], (4, 1)), 100)
    fit = fit_segments(segments, 0.01, PRIOR, STRENGTH)
    whole = joined(segments)
    one = fit_logit(whole.trials, whole.total, whole.share, PRIOR, STRENGTH)

    def sd(cov: Floats) -> float:
        return float(np.sqrt(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]))

    for segment in fit.segments:
        assert segment.beta[1] - segment.beta[0] == pytest.approx(one.beta[1] - one.beta[0], abs=0.3 * sd(one.eta_cov))
        assert sd(segment.eta_cov) == pytest.approx(sd(one.eta_cov), rel=0.15)
    assert fit.overall.theta == pytest.approx(one.theta, abs=1e-3)
    assert fit.overall.eta_cov == pytest.approx(one.eta_cov, rel=0.1, abs=1e-6)


def test_a_segment_without_data_gets_the_others_effects() -> None:
    segments = simulated(np.random.default_rng(3), np.tile([0.0, 0.5], (3, 1)), 500)
    nothing = np.zeros((1, 2))
    fit = fit_segments([*segments, outcomes_of(nothing, nothing)], 0.03, PRIOR, STRENGTH)

    assert fit.beta[3] == pytest.approx(fit.beta[:3].mean(axis=0), abs=0.03)
    assert fit.segments[3].eta_cov[0, 0] > 100 * fit.segments[0].eta_cov[0, 0]


def test_far_apart_segments_tell_each_other_nothing() -> None:
    rng = np.random.default_rng(5)
    own, others = simulated(rng, np.array([[0.0, 0.4]]), 500), simulated(rng, np.array([[1.0, -1.0]] * 2), 500)
    alone = fit_segments(own, 30.0, PRIOR, STRENGTH).segments[0]
    among = fit_segments([*own, *others], 30.0, PRIOR, STRENGTH).segments[0]

    assert among.theta == pytest.approx(alone.theta, abs=1e-5)
    assert among.eta_cov == pytest.approx(alone.eta_cov, rel=1e-3, abs=1e-9)


def test_one_segment_is_the_posterior_without_segments() -> None:
    segments = simulated(np.random.default_rng(3), np.array([[0.0, 0.2, 0.5]]), 300)
    fit = fit_segments(segments, 0.01, PRIOR, STRENGTH)
    one = fit_logit(segments[0].trials, segments[0].total, segments[0].share, PRIOR, STRENGTH)

    # The prior's variance is 1.0001 instead of 1.
    for found in (fit.overall, fit.segments[0]):
        assert found.eta == pytest.approx(one.eta, abs=1e-5)
        assert found.eta_cov == pytest.approx(one.eta_cov, rel=1e-3)


def test_order_of_segments_and_arms_does_not_matter() -> None:
    segments = random_segments(np.random.default_rng(11), 4, 3, 10, 100)
    fit = fit_segments(segments, 0.1, PRIOR, STRENGTH)
    turned = [
        outcomes_of(one.trials[:, ::-1].copy(), one.total[:, ::-1].copy(), one.share) for one in reversed(segments)
    ]
    found = fit_segments(turned, 0.1, PRIOR, STRENGTH)

    assert found.beta == pytest.approx(fit.beta[::-1, ::-1])
    assert found.overall.eta_cov == pytest.approx(fit.overall.eta_cov[::-1, ::-1])
    assert found.log_marginal == pytest.approx(fit.log_marginal)


def test_the_spread_is_chosen_first_and_every_tenth_time() -> None:
    rng = np.random.default_rng(2)
    alike, unlike = (simulated(rng, effects, 2000) for effects in (np.zeros((4, 3)), rng.normal(0.0, 0.5, (4, 3))))
    fit: SegmentFit | None = refresh(alike, PRIOR, STRENGTH, None)
    spreads = []
    for _ in range(11):
        fit = refresh(unlike, PRIOR, STRENGTH, fit)
        spreads.append(fit.spread)

    assert spreads == [SPREADS[0]] * 9 + [SPREADS[-1]] * 2
    assert fit is not None
    assert fit.refreshes == 11


def test_from_the_last_fit_one_comes_to_the_same() -> None:
    rng = np.random.default_rng(2)
    effects = rng.normal(0.0, 0.1, (3, 2))
    before, after = simulated(rng, effects, 100, rows=8), simulated(rng, effects, 100, rows=9)
    last = refresh(before, PRIOR, STRENGTH, None)
    warm = refresh(after, PRIOR, STRENGTH, last)
    cold = fit_segments(after, last.spread, PRIOR, STRENGTH)

    assert warm.overall.eta == pytest.approx(cold.overall.eta, abs=1e-9)
    # A fit of other arms is no start.
    other = refresh(simulated(rng, np.zeros((3, 4)), 50), PRIOR, STRENGTH, last)
    assert (other.beta.shape, other.refreshes) == ((3, 4), 0)


def test_a_start_far_off_leads_to_the_same() -> None:
    # Newton's steps from where all are rewarded would overshoot by far.
    trials = np.full((3, 2), 1000.0)
    rewarded, silent = ([outcomes_of(trials, share * trials)] * 2 for share in (1.0, 0.001))
    last = refresh(rewarded, PRIOR, STRENGTH, None)

    found = refresh(silent, PRIOR, STRENGTH, last)

    cold = fit_segments(silent, last.spread, PRIOR, STRENGTH)
    assert found.overall.eta == pytest.approx(cold.overall.eta, abs=1e-8)
    found = refresh([outcomes_of(trials, trials * [0.0, 1.0])] * 2, PRIOR, STRENGTH, last)
    back = refresh([outcomes_of(trials, trials * [1.0, 0.0])] * 2, PRIOR, STRENGTH, found)
    assert back.overall.eta == pytest.approx(found.overall.eta[::-1], abs=1e-8)


def cells(table: list[list[list[float]]]) -> Floats:
    return np.array(table, np.float64)


# Trials and successes, each (G, T, K).
EXTREMES = {
    "no data at all": (np.zeros((3, 1, 2)), np.zeros((3, 1, 2))),
    "no rewards": (np.full((3, 4, 2), 500.0), np.zeros((3, 4, 2))),
    "all rewarded": (np.full((3, 4, 2), 500.0), np.full((3, 4, 2), 500.0)),
    "an arm without traffic": (cells([[[300, 0]], [[200, 0]]]), cells([[[30, 0]], [[10, 0]]])),
    "one all 1, one all 0": (cells([[[300, 300]], [[300, 300]]]), cells([[[300, 0]], [[0, 300]]])),
    "a billion": (np.full((2, 2, 2), 1e9), cells([[[5e7, 5.1e7]] * 2, [[1e9, 1e9]] * 2])),
    "sixteen segments": (np.full((16, 2, 2), 40.0), np.full((16, 2, 2), 3.0)),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_extremes_stay_finite(name: str) -> None:
    trials, successes = EXTREMES[name]
    fit = refresh([outcomes_of(n, s) for n, s in zip(trials, successes, strict=True)], 0.05, STRENGTH, None)

    for one in (*fit.segments, fit.overall):
        assert np.isfinite(one.eta).all()
        assert (np.linalg.eigvalsh(one.eta_cov) > 0).all()
        assert ((one.theta > 0) & (one.theta <= 1)).all()
    assert np.isfinite(fit.log_marginal)


tables = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**32 - 1)).map(
    lambda drawn: random_segments(np.random.default_rng(drawn[2]), drawn[0], drawn[1], 0, 10**6)
)


@settings(deadline=None)
@given(tables, st.sampled_from([0.01, 0.3]))
def test_the_fixed_point_has_no_gradient_left(segments: list[Outcomes], spread: float) -> None:
    model = Model(segments, spread)
    fit = fit_segments(segments, spread, PRIOR, STRENGTH)

    logits = fit.overall.alpha[:, None] + fit.beta[model.of_row]
    residual = model.successes - model.trials * expit(logits)
    by_segment = np.array([residual[model.of_row == g].sum(axis=0) for g in range(len(segments))])
    mu = model.means(fit.overall.alpha)[model.of_row]
    # A step is done at 1e-10, and curvature is up to 1e6.
    assert by_segment - model.prior @ fit.beta == pytest.approx(np.zeros_like(fit.beta), abs=1e-3)
    assert residual.sum(axis=1) - (fit.overall.alpha - mu) / LEVEL_SD**2 == pytest.approx(np.zeros(len(mu)), abs=1e-3)


def test_what_can_not_be_fitted_is_refused() -> None:
    one = outcomes_of(np.ones((1, 2)), np.zeros((1, 2)))
    for segments in (
        [],
        [one] * 17,
        [one, outcomes_of(np.ones((1, 3)), np.zeros((1, 3)))],
        [outcomes_of(np.zeros((0, 2)), np.zeros((0, 2)))],
    ):
        with pytest.raises(ValueError, match="segment"):
            fit_segments(segments, 0.1, PRIOR)


def test_joined_segments_weigh_as_much_as_their_traffic() -> None:
    small = outcomes_of(np.full((2, 2), 10.0), np.full((2, 2), 1.0))
    large = outcomes_of(np.full((3, 2), 40.0), np.full((3, 2), 2.0))
    whole = joined([small, large])

    assert whole.trials.shape == (5, 2)
    assert whole.total.sum() == small.total.sum() + large.total.sum()
    assert whole.share.sum() == pytest.approx(1.0)
    assert whole.share[:2].sum() == pytest.approx(40 / 280)


def test_cells_of_segments_are_apart() -> None:
    numbers = {cell_arm(arm, segment) for arm in range(ARMS_PER_SEGMENT) for segment in range(SEGMENTS_MAX)}

    assert len(numbers) == ARMS_PER_SEGMENT * SEGMENTS_MAX
    assert cell_arm(3, 0) == 3
    for arm, segment in ((256, 0), (-1, 0), (0, 16), (0, -1)):
        with pytest.raises(ValueError, match=r"0\.\.15"):
            cell_arm(arm, segment)


def test_a_refresh_of_96_blocks_takes_a_few_milliseconds() -> None:
    segments = simulated(np.random.default_rng(1), np.zeros((4, 3)), 100, rows=96)
    last = refresh(segments, PRIOR, STRENGTH, None)
    best = np.inf
    for _ in range(10):
        start = time.process_time()
        refresh(segments, PRIOR, STRENGTH, last)
        best = min(best, time.process_time() - start)

    # .9 ms where this was written; processor time, so that a busy machine matters less.
    assert best < 0.008
