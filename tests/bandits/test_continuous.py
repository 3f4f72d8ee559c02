import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bandits.assess import ArmFacts, Assessment, Question, assess
from bandits.continuous import VARIANCE_MIN, Difference, difference, fit_normal
from bandits.rules import Objective, Policy, StopRule
from bandits.strata import Outcomes
from bandits.sums import STEPS, Sums, quantise

Floats = NDArray[np.float64]


def outcomes(n: Any, total: Any, square: Any, pending: Any = None) -> Outcomes:
    table = np.array(n, np.float64)
    share = table.sum(axis=1) / max(1.0, table.sum())
    nothing = np.zeros_like(table) if pending is None else np.array(pending, np.float64)
    return Outcomes(table, np.array(total, np.float64), np.array(square, np.float64), nothing, share)


def simulated(rng: np.random.Generator, n: NDArray[np.int64], means: Floats, levels: Floats, sd: Floats) -> Outcomes:
    """Normal rewards around level + mean; sums of them are drawn, not each reward."""
    total = n * (levels[:, None] + means) + rng.normal(size=n.shape) * np.sqrt(n) * sd
    scatter = rng.chisquare(np.maximum(n - 1, 1e-9)) * sd**2
    return outcomes(n, total, scatter + total**2 / n)


@pytest.mark.parametrize("seed", range(4))
def test_the_posterior_is_that_of_the_whole_linear_model(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, arms = 5, 3
    n = rng.integers(5, 60, (rows, arms))
    some = simulated(rng, n, np.array([0.4, 0.5, 0.45]), rng.normal(0, 0.1, rows), np.array([0.1, 0.2, 0.15]))
    fit = fit_normal(some, 0.05)

    # All levels and effects at once: precision matrix and its solution, levels without a prior.
    precision = n / fit.variance
    whole = np.zeros((rows + arms, rows + arms))
    whole[:rows, :rows] = np.diag(precision.sum(axis=1))
    whole[rows:, rows:] = np.diag(precision.sum(axis=0) + 1 / fit.pooled)
    whole[:rows, rows:] = precision
    whole[rows:, :rows] = precision.T
    weighted = some.total / fit.variance
    solution = np.linalg.solve(whole, np.concatenate([weighted.sum(axis=1), weighted.sum(axis=0)]))
    to_means = np.hstack([np.tile(some.share, (arms, 1)), np.eye(arms)])

    assert fit.theta == pytest.approx(to_means @ solution, rel=1e-9)
    assert fit.theta_cov == pytest.approx(to_means @ np.linalg.inv(whole) @ to_means.T, rel=1e-9)


def test_means_are_covered_by_their_intervals() -> None:
    rng = np.random.default_rng(5)
    truth, levels, runs = np.array([0.4, 0.5]), np.array([-0.1, 0.0, 0.2, 0.0]), 2000
    n = np.array([[40, 400], [400, 40], [200, 200], [100, 300]])
    standing = truth + (n.sum(axis=1) / n.sum()) @ levels
    inside = np.zeros(2)
    for _ in range(runs):
        fit = fit_normal(simulated(rng, n, truth, levels, np.array([0.2, 0.3])), 0.05)
        inside += np.abs(fit.theta - standing) <= 1.96 * np.sqrt(np.diag(fit.theta_cov))

    assert inside / runs == pytest.approx(0.95, abs=0.01 + 4 * math.sqrt(0.95 * 0.05 / runs))


def test_the_spread_of_each_arm_is_drawn_to_the_pooled_one() -> None:
    # Arm 0: 0 and 1 twice each, scatter 1 of 3 degrees; arm 1: constant. Pooled 1/6; (1 + 20/6) / 23 and (20/6) / 23.
    fit = fit_normal(outcomes([[4, 4]], [[2, 2]], [[2, 1]]), 0.05)

    assert fit.pooled == pytest.approx(1 / 6)
    assert fit.variance == pytest.approx([(1 + 20 / 6) / 23, (20 / 6) / 23])


def test_no_data_and_no_spread_are_finite() -> None:
    empty = fit_normal(outcomes(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2))), 0.3)
    assert empty.theta.tolist() == [0.3, 0.3]
    same = fit_normal(outcomes([[9, 9]], [[9, 9]], [[9, 9]]), 0.3)
    assert same.pooled == VARIANCE_MIN
    assert same.theta == pytest.approx([1.0, 1.0])
    one = fit_normal(outcomes([[1, 0]], [[0.5, 0]], [[0.25, 0]]), 0.3)
    assert np.isfinite(one.theta_cov).all()


def test_evidence_by_hand() -> None:
    seen = Difference(d=0.0, a=400.0, sigma=0.5)
    mixed = np.mean([(1 + (c * 0.5) ** 2 * 400) ** -0.5 for c in (0.02, 0.1, 0.5)])

    # d = 0: the mixture has only its normaliser; the claim is .1 = 2 standard errors away: exp(2) more.
    assert seen.log_evidence(0.1) == pytest.approx(math.log(mixed) + 2.0)
    assert seen.log_evidence(-0.1) == pytest.approx(math.log(mixed))
    assert seen.log_evidence(seen.upper(3.0)) == pytest.approx(3.0)
    assert Difference(0.0, 0.0, 0.5).log_evidence(9.0) == 0.0
    assert Difference(0.0, 0.0, 0.5).upper(3.0) == math.inf


def test_pending_outcomes_count_against_refuting() -> None:
    some = outcomes([[100, 100]] * 3, [[50, 50]] * 3, [[30, 30]] * 3, [[1, 1], [4, 4], [11, 0]])
    seen = difference(some, fit_normal(some, 0.5), 0, 1)

    # 1 % is nothing: 0 between them; 4 %: (50 + 4) / 104 against 50 / 104; 10 % is too little known.
    h = np.array([100.0, 104.0])
    assert seen.d == pytest.approx(h @ np.array([0.0, 4 / 104]) / h.sum())


@pytest.mark.parametrize("shape", ["normal", "beta", "lognormal"])
def test_a_true_claim_at_its_boundary_is_refuted_in_at_most_alpha_of_peeked_runs(shape: str) -> None:
    rng = np.random.default_rng(23)
    runs, looks, per_look, least = 200, 40, 60, 0.02
    false = 0
    for _ in range(runs):
        level = 0.02 * np.sin(np.arange(looks) / 4)
        draws = {
            "normal": lambda: rng.normal(0.5, 0.1, (looks, 2, per_look)),
            "beta": lambda: rng.beta(2.0, 2.0, (looks, 2, per_look)),
            "lognormal": lambda: rng.lognormal(-2.5, 1.0, (looks, 2, per_look)),
        }[shape]()
        y = draws + level[:, None, None] + np.array([least, 0.0])[:, None]
        total, square = y.sum(axis=2), (y**2).sum(axis=2)
        for look in range(4, looks + 1, 4):
            some = outcomes(np.full((look, 2), per_look), total[:look], square[:look])
            if difference(some, fit_normal(some, 0.5), 0, 1).log_evidence(least) >= math.log(1 / 0.05):
                false += 1
                break

    assert false / runs <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / runs)


V = 0.01


def asked(rewards: Floats, low: float, high: float, costs: tuple[float, ...] = (0.0, 0.0), **changes: Any) -> Question:
    """Ask about rewards (blocks, arms, requests); costs in money."""
    rows, arms, count = rewards.shape
    q = np.vectorize(lambda reward: quantise(reward, low, high), otypes=[np.int64])(rewards)
    n = np.full((rows, arms), count, np.int64)
    given_: dict[str, Any] = {
        "arms": tuple(ArmFacts(f"v{number}", cost) for number, cost in enumerate(costs)),
        "control": 0,
        "sums": Sums(np.arange(rows), n, n, q.sum(axis=2), (q**2).sum(axis=2)),
        "open_block": rows,
        "age_s": 900.0 * rows,
        "objective": Objective(V, reward_type="continuous", low=low, high=high),
        "policy": Policy(),
        "stop": StopRule(cycle_s=None),
        "blocks_closed": rows,
    }
    return Question(**(given_ | changes))


def around(means: tuple[float, ...], sd: float, seed: int = 0, low: float = 0.0, high: float = 1e9) -> Floats:
    rng = np.random.default_rng(seed)
    noise = rng.normal(0.0, sd, (8, len(means), 100))
    level = rng.normal(0.0, sd, (8, 1, 1))
    return np.asarray(np.clip(np.array(means)[:, None] + noise + level, low, high), np.float64)


def test_a_better_mean_wins_in_its_own_unit() -> None:
    found = assess(asked(around((1000.0, 1030.0), 10.0), 900.0, 1100.0))

    assert (found.leader, found.is_over, found.retire) == (1, True, (0,))
    assert found.rate[1] - found.rate[0] == pytest.approx(30.0, abs=2.0)
    assert found.value_usd == pytest.approx(V * found.rate)
    assert found.value_low[1] < found.value_usd[1] < found.value_high[1]
    assert found.margin == 0.01
    assert found.certified_gap <= found.margin


def test_a_dearer_arm_has_to_earn_it() -> None:
    rewards = around((1000.0, 1030.0), 10.0)
    dear = assess(asked(rewards, 900.0, 1100.0, costs=(0.0, 60.0 * V)))

    assert (dear.leader, dear.is_over) == (0, True)


def test_counts_are_learned_the_same_way() -> None:
    rng = np.random.default_rng(2)
    counts = np.minimum(rng.poisson(np.array([2.0, 3.0])[:, None], (8, 2, 200)), 50).astype(np.float64)
    question = asked(counts, 0.0, 50.0)
    question = replace(question, objective=Objective(V, reward_type="count", low=0.0, high=50.0))

    found = assess(question)

    assert (found.leader, found.is_over) == (1, True)
    assert found.rate == pytest.approx([2.0, 3.0], abs=0.2)


def test_a_few_large_rewards_are_not_enough() -> None:
    rewards = np.zeros((8, 2, 100))
    rewards[0, 0, :5], rewards[0, 1, :9] = 1.0, 1.0
    found = assess(asked(rewards, 0.0, 1.0))

    assert found.not_ready == (
        "arm v0 has 5 effective successes, 30 are needed",
        "arm v1 has 9 effective successes, 30 are needed",
    )


def comparable(found: Assessment) -> list[Any]:
    return [found.leader, found.is_over, found.retire, found.is_drained, found.refuted.tolist()]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([1e-6, 3.0]), st.floats(0.0, 0.05))
def test_scaling_money_or_rewards_scales_nothing_else(seed: int, factor: float, cost: float) -> None:
    rewards = around((0.4, 0.42), 0.05, seed, 0.0, 1.0)
    one = asked(rewards, 0.0, 1.0, costs=(0.0, cost * V))
    dearer = replace(
        one,
        arms=tuple(replace(arm, cost_usd=arm.cost_usd * factor) for arm in one.arms),
        objective=replace(one.objective, value_usd=V * factor),
    )
    # Rewards ten times as large, each worth a tenth.
    tenth = replace(one, objective=replace(one.objective, high=10.0, value_usd=V / 10))

    before = assess(one)
    for after in (assess(dearer), assess(tenth)):
        assert comparable(after) == comparable(before)
        assert after.weights == pytest.approx(before.weights, abs=1e-9)
        assert after.evidence_log == pytest.approx(before.evidence_log, rel=1e-6, abs=1e-6)


def test_the_steps_of_a_reward_cost_no_precision() -> None:
    # Part I §I: the variance of N(1000, 1) over the range 900 to 1100 survives to .1 %.
    rng = np.random.default_rng(4)
    y = rng.normal(1000.0, 1.0, 20_000)
    q = np.array([quantise(reward, 900.0, 1100.0) for reward in y], np.int64)
    some = outcomes([[20_000]], [[q.sum() / STEPS]], [[(q**2).sum() / STEPS**2]])

    assert fit_normal(some, 0.5).pooled * 200.0**2 == pytest.approx(y.var(ddof=1), rel=1e-3)
