import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import nchypergeom_fisher  # noqa: TID251 - the exact law, for comparison only

from bandits.evidence import (
    EVIDENCE_MAX,
    GRID,
    LOG_MIXTURE,
    GridCache,
    Tables,
    log_evidence,
    log_likelihood,
    tables_of,
    upper_bound,
)

Floats = NDArray[np.float64]


def tables(*rows: tuple[int, int, int, int]) -> Tables:
    """Make tables of (trials of k, successes of k, trials of l, successes of l)."""
    n_k, s_k, n_l, s_l = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    return Tables(n_k, n_l, s_k, s_l)


def exact(theta: float, n_k: int, s_k: int, n_l: int, s_l: int) -> float:
    """The exact conditional log likelihood."""
    return float(nchypergeom_fisher.logpmf(s_k, n_k + n_l, n_k, s_k + s_l, math.exp(theta)))


@pytest.mark.parametrize("seed", range(40))
def test_the_likelihood_is_the_exact_law_up_to_a_constant(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_k, n_l = int(rng.integers(1, 400)), int(rng.integers(1, 400))
    rate = rng.choice([0.01, 0.1, 0.5, 0.9, 0.99])
    row = (n_k, int(rng.binomial(n_k, rate)), n_l, int(rng.binomial(n_l, rate)))
    thetas = np.array([-1.0, -0.3, 0.0, 0.1, 0.8])

    found = log_likelihood(thetas, tables(row))[0]
    law = np.array([exact(theta, *row) for theta in thetas])

    # The reference saw 4.4e-4 at most; .002 allows for tables it did not see.
    assert found - found[2] == pytest.approx(law - law[2], abs=2e-3)


@pytest.mark.parametrize("row", [(1, 1, 1, 0), (1, 0, 1, 1), (7, 0, 5, 1), (7, 7, 5, 4), (3, 2, 1, 1), (1, 0, 9, 9)])
def test_a_single_success_or_failure_is_exact(row: tuple[int, int, int, int]) -> None:
    found = log_likelihood(np.array([-2.0, 0.0, 3.0]), tables(row))[0]
    law = np.array([exact(theta, *row) for theta in (-2.0, 0.0, 3.0)])

    assert found - found[1] == pytest.approx(law - law[1], abs=1e-9)


@pytest.mark.parametrize("row", [(5, 0, 5, 0), (5, 5, 5, 5), (0, 0, 5, 3), (5, 3, 0, 0), (0, 0, 0, 0)])
def test_a_stratum_that_compares_nothing_says_nothing(row: tuple[int, int, int, int]) -> None:
    assert (log_likelihood(GRID, tables(row)) == 0.0).all()
    assert log_evidence(tables(row), 0.0) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_log_evidence_is_within_a_hundredth_of_the_exact_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(6):
        n_k, n_l = int(rng.integers(1, 300)), int(rng.integers(1, 300))
        rows.append((n_k, int(rng.binomial(n_k, 0.3)), n_l, int(rng.binomial(n_l, 0.4))))
    x = float(rng.normal(0, 0.2))

    law = np.array([sum(exact(theta, *row) for row in rows) for theta in GRID])
    at_x = sum(exact(x, *row) for row in rows)
    expected = np.logaddexp.reduce(LOG_MIXTURE + law) - max(at_x, law[x <= GRID].max())

    assert log_evidence(tables(*rows), x) == pytest.approx(expected, abs=0.01)


def test_one_per_arm_strata_are_unbiased() -> None:
    # Part I §B: without the exact cases the estimate is .53 for .405.
    rng = np.random.default_rng(1)
    level = rng.normal(0, 0.5, 20_000)
    s_k = rng.random(20_000) < 1 / (1 + np.exp(-level - 0.405))
    s_l = rng.random(20_000) < 1 / (1 + np.exp(-level))
    ones = np.ones(20_000)

    likelihood = log_likelihood(GRID, Tables(ones, ones, s_k.astype(float), s_l.astype(float))).sum(axis=0)

    # Half of the strata tell, each with information 1/4: a standard error of .02; the grid is .035 wide there.
    assert GRID[likelihood.argmax()] == pytest.approx(0.405, abs=4 * 0.02 + 0.035 / 2)


@pytest.mark.parametrize("gap", [0.0, 0.2])
def test_the_claim_that_is_true_is_refuted_in_at_most_alpha_of_peeked_runs(gap: float) -> None:
    rng = np.random.default_rng(17)
    runs, looks, bar = 300, 40, math.log(1 / 0.05)
    false = 0
    for _ in range(runs):
        level = rng.normal(-0.5, 0.5, looks)
        # Sampling may follow what was seen: here it does, by a share that wanders.
        n_k = rng.binomial(60, np.clip(0.5 + 0.4 * np.sin(np.arange(looks) / 5), 0.05, 0.95)).astype(np.float64)
        n_l = 60 - n_k
        s_k = rng.binomial(n_k.astype(int), 1 / (1 + np.exp(-level - gap))).astype(np.float64)
        s_l = rng.binomial(n_l.astype(int), 1 / (1 + np.exp(-level))).astype(np.float64)
        grid = log_likelihood(GRID, Tables(n_k, n_l, s_k, s_l)).cumsum(axis=0)
        at_x = log_likelihood(np.array([gap]), Tables(n_k, n_l, s_k, s_l)).cumsum(axis=0)[:, 0]
        highest = np.maximum(at_x, grid[:, gap <= GRID].max(axis=1))
        false += bool((np.logaddexp.reduce(LOG_MIXTURE + grid, axis=1) - highest >= bar).any())

    assert false / runs <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / runs)


def test_a_clear_loser_is_refuted_and_the_reverse_is_not() -> None:
    clear = tables(*[(500, 25, 500, 50)] * 5)

    assert log_evidence(clear, 0.05) > math.log(1 / 0.001)
    assert log_evidence(clear, -1.5) < math.log(1 / 0.05)
    assert log_evidence(tables(*[(500, 50, 500, 25)] * 5), 0.05) < 0.0


def test_impossible_and_empty_claims() -> None:
    row = tables((10, 5, 10, 5))

    assert log_evidence(row, math.inf) == EVIDENCE_MAX
    assert log_evidence(row, -math.inf) == 0.0
    # Beyond the grid the claim is judged at its own point.
    assert log_evidence(row, 10.0) > 5.0


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 300), st.floats(0, 1), st.integers(1, 300), st.floats(0, 1)), min_size=1, max_size=6
    ),
    st.floats(0.5, 6.0),
)
def test_the_upper_bound_is_a_refuted_grid_point(rows: list[tuple[int, float, int, float]], bar: float) -> None:
    some = tables(*[(n_k, round(n_k * p), n_l, round(n_l * q)) for n_k, p, n_l, q in rows])
    grid = log_likelihood(GRID, some).sum(axis=0)

    bound = upper_bound(grid, bar)

    if math.isinf(bound):
        assert log_evidence(some, float(GRID[-1])) < bar
    else:
        assert log_evidence(some, bound) >= bar - 1e-9
        below = GRID[bound > GRID]
        assert below.size == 0 or log_evidence(some, float(below[-1])) < bar + 1e-9


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 50), st.floats(0, 1), st.integers(0, 50), st.floats(0, 1)), max_size=5),
        min_size=1,
        max_size=5,
    )
)
def test_the_cache_changes_nothing(refreshes: list[list[tuple[int, float, int, float]]]) -> None:
    cache = GridCache()
    for rows in refreshes:
        cells = np.array([(n, round(n * p), m, round(m * q)) for n, p, m, q in rows], np.float64).reshape(-1, 4)
        some = Tables(cells[:, 0], cells[:, 2], cells[:, 1], cells[:, 3])

        first, second = cache.grids([(1, 0), (2, 0)], [some, some])

        assert first == pytest.approx(log_likelihood(GRID, some).sum(axis=0), abs=1e-9)
        assert second == pytest.approx(first, abs=1e-9)


def test_pending_outcomes_count_against_refuting() -> None:
    trials = np.array([[100.0, 100.0], [100.0, 100.0], [100.0, 100.0]])
    successes = np.array([[50.0, 60.0], [50.0, 60.0], [50.0, 60.0]])
    # 1 % is nothing; 4 % counts as the worst case; 10 % is too little known.
    pending = np.array([[1.0, 1.0], [4.0, 4.0], [11.0, 0.0]])

    cut = tables_of(trials, successes, pending, 0, 1)

    assert cut.trials_k.tolist() == [100.0, 104.0]
    assert cut.successes_k.tolist() == [50.0, 54.0]
    assert cut.trials_l.tolist() == [100.0, 104.0]
    assert cut.successes_l.tolist() == [60.0, 60.0]


@pytest.mark.parametrize("all_but", [0.0, 20.0])
def test_of_a_success_or_failure_in_parts_each_arm_has_its_part(all_but: float) -> None:
    # Two rows a request: half a success, or half a failure, of each arm. Neither is the better.
    n, half = np.full(50, 20.0), np.full(50, abs(all_but - 0.5))
    tables = Tables(n, n, half, half)

    one, other = log_likelihood(np.array([-0.3, 0.3]), tables).sum(axis=0)
    assert one == pytest.approx(other)
