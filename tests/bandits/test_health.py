"""The alarms keep still while nothing is wrong, at every look, and find losses within the figures of the reference."""

import dataclasses
import math
from collections.abc import Sequence
from decimal import Decimal, localcontext
from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from bandits.alarm import BAR_LOG, Alarm, log_mean_exp
from bandits.health import Draws, HealthCache, Reports, alarms, report_logs
from bandits.sample_ratio import LAMBDAS, SHARP_BITS, STORED_BITS, log_e_of_draws, log_moments
from bandits.weights import PARTS, to_parts

Floats = NDArray[np.float64]
NAMES = ("v1", "v2", "v3", "v4", "v5")
# Runs of a simulation: 1,000 looks at 200 requests each.
RUNS, LOOKS, REQUESTS = 200, 1_000, 200


def drawn(history: Sequence[tuple[Sequence[int], int, int]]) -> Draws:
    """What stores hold after draws of (parts, arm, how many)."""
    arms = len(history[0][0])
    assigned = [0] * arms
    moments = [[0] * len(LAMBDAS) for _ in range(arms)]
    for parts, arm, count in history:
        assigned[arm] += count
        for k, row in enumerate(log_moments(parts)):
            for place, moment in enumerate(row):
                moments[k][place] += count * moment
    stored = tuple(tuple(moment >> (SHARP_BITS - STORED_BITS) for moment in row) for row in moments)
    return Draws(tuple(assigned), stored)


def of_draws(history: Sequence[tuple[Sequence[int], int, int]]) -> Alarm:
    return alarms(NAMES[: len(history[0][0])], draws=drawn(history))[0]


def of_reports(decisions: ArrayLike, reported: ArrayLike, cache: HealthCache | None = None) -> Alarm:
    reports = Reports(np.array(decisions, np.float64), np.array(reported, np.float64))
    return alarms(NAMES[: reports.decisions.shape[1]], reports=reports, cache=cache)[0]


def weighed(rng: np.random.Generator, trials: Floats, successes: Floats, floor: float = 0.01) -> Floats:
    """Weights (runs, arms) that follow the rewards, as Thompson sampling's do."""
    mean = (successes + 1.0) / (trials + 20.0)
    sd = np.sqrt(mean * (1.0 - mean) / (trials + 20.0))
    best = (mean[:, None] + sd[:, None] * rng.standard_normal((len(mean), 64, mean.shape[1]))).argmax(axis=2)
    shares = np.stack([(best == arm).mean(axis=1) for arm in range(mean.shape[1])], axis=1)
    return np.asarray(shares * (1.0 - mean.shape[1] * floor) + floor, np.float64)


def first_ring(logs: Sequence[Floats], requests: int) -> Floats:
    """After how many requests each run first rang; inf for never. `logs` per look (runs, …)."""
    rang = np.stack([log_mean_exp(one, tuple(range(1, one.ndim))) >= BAR_LOG for one in logs])
    return np.where(rang.any(axis=0), (rang.argmax(axis=0) + 1.0) * requests, np.inf)


def simulated_draws(seed: int, arms: int, *, runs: int, looks: int, requests: int, lost: float = 0.0) -> Floats:
    """First rings of the sample ratio; of arm 0's assignments a share `lost` is never counted."""
    rng = np.random.default_rng(seed)
    trials, successes, moments = np.zeros((runs, arms)), np.zeros((runs, arms)), np.zeros((runs, arms, len(LAMBDAS)))
    logs = []
    for _ in range(looks):
        # With a loss equal weights, as in the reference; without one the weights that follow rewards, the harder case.
        weights = np.full((runs, arms), 1.0 / arms) if lost else weighed(rng, trials, successes)
        counts = rng.multinomial(requests, weights)
        counts[:, 0] -= rng.binomial(counts[:, 0], lost)
        trials += counts
        successes += rng.binomial(counts, 0.05)
        moments += counts.sum(axis=1)[:, None, None] * np.log1p(weights[:, :, None] * np.expm1(np.array(LAMBDAS)))
        logs.append(log_e_of_draws(trials, moments))
    return first_ring(logs, requests)


def simulated_reports(
    seed: int, arms: int, *, runs: int, looks: int, requests: int, lost: float = 0.0, swing: float = 0.0
) -> Floats:
    """First rings of the reporting rate around .9 (or swinging); of arm 0's rewards a share `lost` is lost."""
    rng = np.random.default_rng(seed)
    trials, successes = np.zeros((runs, arms)), np.zeros((runs, arms))
    summed = np.zeros((runs, arms, 10))
    logs = []
    for look in range(looks):
        counts = rng.multinomial(requests, weighed(rng, trials, successes))
        rate = np.full(arms, 0.9 - swing + swing * math.sin(look * requests / 3000))
        rate[0] *= 1.0 - lost
        reported = rng.binomial(counts, rate)
        trials += reported
        successes += rng.binomial(reported, 0.5)
        for arm in range(arms):
            rest, others = counts.sum(axis=1) - counts[:, arm], reported.sum(axis=1) - reported[:, arm]
            rows = np.stack([counts[:, arm], rest, reported[:, arm], others], axis=1).astype(np.float64)
            summed[:, arm] += report_logs(rows)
        logs.append(summed.copy())
    return first_ring(logs, requests)


def test_sample_ratio_is_an_exact_martingale_whatever_the_weights_follow() -> None:
    weights = [to_parts(shares) for shares in ([0.98, 0.01, 0.01], [0.2, 0.3, 0.5], [0.6, 0.4, 0.0])]
    for length in range(1, 6):
        expected = 0.0
        for path in product(range(3), repeat=length):
            chance, history = 1.0, []
            for step, arm in enumerate(path):
                # The weights follow what was drawn before.
                parts = weights[sum(path[:step]) % 3]
                chance *= parts[arm] / PARTS
                history.append((parts, arm, 1))
            expected += chance * math.exp(of_draws(history).log_e) if chance else 0.0

        # Each of the stored sums is cut to whole steps of 2^-20.
        assert expected == pytest.approx(1.0, abs=2e-6), length


@pytest.mark.parametrize("rate", [0.5, 0.9])
def test_reporting_is_a_martingale_at_any_common_rate(rate: float) -> None:
    expected = 0.0
    tables = [(3, 2, 1), (2, 2, 2)]
    for reported in product(*(range(size + 1) for row in tables for size in row)):
        rows = [reported[:3], reported[3:]]
        chance = math.prod(
            math.comb(size, count) * rate**count * (1 - rate) ** (size - count)
            for sizes, counts in zip(tables, rows, strict=True)
            for size, count in zip(sizes, counts, strict=True)
        )
        expected += chance * math.exp(of_reports(tables, rows).log_e)

    assert expected == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("row", [(30, 2000, 30), (64, 64, 64), (65, 70, 66), (200, 150, 170), (1000, 9000, 9000)])
def test_one_stratum_is_expected_to_multiply_by_one(row: tuple[int, int, int]) -> None:
    own, others, reported = row
    ours = np.arange(max(0, reported - others), min(own, reported) + 1, dtype=np.float64)
    chance = np.array([_log_chance(own, others, reported, int(count)) for count in ours])
    rows = np.stack([np.full(ours.size, own), np.full(ours.size, others), ours, reported - ours], axis=1)

    expected = np.exp(chance[:, None] + report_logs(rows)).sum(axis=0)

    assert expected == pytest.approx(np.ones(10), abs=1e-9 if ours.size <= 64 else 1.2e-3)


def _log_chance(own: int, others: int, reported: int, count: int) -> float:
    """The hypergeometric law, from whole numbers."""
    ways = math.comb(own, count) * math.comb(others, reported - count)
    return math.log(ways) - math.log(math.comb(own + others, reported))


@pytest.mark.parametrize("arms", [2, 3])
def test_healthy_sample_ratio_rings_hardly_ever_in_a_thousand_looks(arms: int) -> None:
    rang = np.isfinite(simulated_draws(1, arms, runs=RUNS, looks=LOOKS, requests=REQUESTS))

    assert rang.mean() <= 0.005


@pytest.mark.parametrize(("arms", "swing"), [(2, 0.0), (3, 0.2)])
def test_healthy_reporting_rings_hardly_ever_in_a_thousand_looks(arms: int, swing: float) -> None:
    rang = np.isfinite(simulated_reports(2, arms, runs=RUNS, looks=LOOKS, requests=REQUESTS, swing=swing))

    assert rang.mean() <= 0.005


@pytest.mark.parametrize("arms", [2, 3])
def test_loss_of_a_fifth_of_an_arms_assignments_is_found_within_5k(arms: int) -> None:
    found = simulated_draws(3, arms, runs=200, looks=50, requests=100, lost=0.2)

    assert np.mean(found <= 5_000) >= 0.95


@pytest.mark.parametrize(("arms", "swing"), [(2, 0.0), (3, 0.0), (3, 0.2)])
def test_loss_of_a_fifth_of_an_arms_rewards_is_found_within_6k(arms: int, swing: float) -> None:
    found = simulated_reports(4, arms, runs=200, looks=60, requests=100, lost=0.2, swing=swing)

    assert np.median(found) <= 6_000


def test_client_of_one_arm_that_stops_reporting_is_found_within_500_decisions_of_it() -> None:
    rng = np.random.default_rng(5)
    found = []
    for _ in range(50):
        decisions = np.full((10, 2), 50)
        reported = rng.binomial(decisions, [0.9, 0.7])
        found.append(of_reports(decisions, reported).is_ringing)

    # Operations' law L7: 20 points of difference.
    assert np.mean(found) >= 0.9


def test_moments_of_a_draw_are_right_to_their_last_step() -> None:
    parts = to_parts([0.97, 0.01, 0.02])
    with localcontext() as context:
        context.prec = 50
        for part, row in zip(parts, log_moments(parts), strict=True):
            for bet, moment in zip(LAMBDAS, row, strict=True):
                exact = (1 + Decimal(part) / PARTS * (Decimal(bet).exp() - 1)).ln() * 2**SHARP_BITS

                # A double holds 53 bits of it.
                assert abs(moment - exact) <= abs(exact) * Decimal(2) ** -50 + 1


def test_arm_that_gets_traffic_without_weight_rings_at_once() -> None:
    parts = to_parts([0.5, 0.0, 0.5])

    alarm = of_draws([(parts, 0, 40), (parts, 1, 25), (parts, 2, 40)])

    assert (alarm.name, alarm.arm, alarm.is_ringing) == ("sample_ratio", "v2", True)
    assert alarm.words == "arm v2 was drawn 25 times, its weights promise 0"


def test_words_say_how_many_draws_the_weights_promise() -> None:
    even, most = to_parts([0.5, 0.5]), to_parts([0.99, 0.01])

    alarm = of_draws([(even, 0, 5_000), (even, 1, 3_000), (most, 0, 1_980), (most, 1, 20)])

    assert alarm.words in {
        "arm v1 was drawn 6980 times, its weights promise 5980",
        "arm v2 was drawn 3020 times, its weights promise 4020",
    }
    assert alarm.is_ringing


@pytest.mark.parametrize("count", [0, 1, 10**6, 10**12])
def test_draws_just_as_promised_are_no_evidence_at_any_size(count: int) -> None:
    parts = to_parts([0.25, 0.75])

    alarm = of_draws([(parts, 0, count), (parts, 1, 3 * count)])

    assert not alarm.is_ringing
    assert (alarm.arm, alarm.log_e <= 1e-3) == (None, True)


def test_enormous_mismatch_is_finite() -> None:
    assert of_draws([(to_parts([0.5, 0.5]), 0, 10**12)]).log_e == 1000.0


@pytest.mark.parametrize(
    ("decisions", "reported"),
    [
        (np.zeros((0, 2)), np.zeros((0, 2))),
        (np.zeros((3, 2)), np.zeros((3, 2))),
        (np.full((3, 2), 1e9), np.zeros((3, 2))),
        (np.full((3, 2), 1e9), np.full((3, 2), 1e9)),
        # Several rewards for a decision.
        (np.full((3, 2), 50.0), np.full((3, 2), 90.0)),
        (np.array([[100.0, 0.0]]), np.array([[40.0, 0.0]])),
        (np.array([[100.0]]), np.array([[40.0]])),
    ],
    ids=["no strata", "no decisions", "no reward", "all rewarded", "more rewards", "arm without traffic", "one arm"],
)
def test_reports_that_compare_nothing_are_no_evidence(decisions: Floats, reported: Floats) -> None:
    alarm = of_reports(decisions, reported)

    assert (alarm.log_e, alarm.is_ringing) == (0.0, False)


def test_lost_rewards_ring_and_say_whose() -> None:
    alarm = of_reports([[500, 500, 500]] * 4, [[450, 300, 450]] * 4)

    assert (alarm.name, alarm.arm, alarm.is_ringing) == ("reporting_rate", "v2", True)
    assert alarm.words == "rewards came back for 60.0% of arm v2's decisions, for 90.0% of the others'"


tables = st.lists(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=3, max_size=3), min_size=1, max_size=6
)


@given(tables, st.randoms(use_true_random=False))
def test_order_of_strata_and_of_arms_changes_nothing(rows: list[list[tuple[int, int]]], random: Random) -> None:
    decisions = np.array([[max(cell) for cell in row] for row in rows], np.float64)
    reported = np.array([[min(cell) for cell in row] for row in rows], np.float64)
    order = np.random.default_rng(random.getrandbits(32)).permutation(len(rows))

    found = of_reports(decisions, reported)
    shuffled = of_reports(decisions[order], reported[order])
    turned = of_reports(decisions[:, ::-1], reported[:, ::-1])

    assert shuffled.log_e == pytest.approx(found.log_e, abs=1e-9)
    assert turned.log_e == pytest.approx(found.log_e, abs=1e-9)
    assert math.isfinite(found.log_e)


@given(tables, st.integers(0, 6), st.integers(0, 6))
def test_cache_changes_no_answer(rows: list[list[tuple[int, int]]], seen: int, changed: int) -> None:
    decisions = [[max(cell) for cell in row] for row in rows]
    reported = [[min(cell) for cell in row] for row in rows]
    cache = HealthCache()
    of_reports(np.array(decisions[:seen]).reshape(-1, 3), np.array(reported[:seen]).reshape(-1, 3), cache=cache)
    # A late flush reaches into a stratum that was seen.
    decisions[changed % len(rows)][0] += 7

    cached = of_reports(decisions, reported, cache=cache)

    assert cached.log_e == pytest.approx(of_reports(decisions, reported).log_e, abs=1e-9)


def test_only_what_was_asked_is_answered_and_an_alarm_is_a_plain_value() -> None:
    assert alarms(NAMES[:2]) == ()

    found = alarms(NAMES[:2], draws=Draws((0, 0), ((0,) * 10, (0,) * 10)))

    assert dataclasses.asdict(found[0]) == {
        "name": "sample_ratio",
        "arm": None,
        "log_e": 0.0,
        "bar_log": BAR_LOG,
        "is_ringing": False,
        "words": "arm v1 was drawn 0 times, its weights promise 0",
    }
