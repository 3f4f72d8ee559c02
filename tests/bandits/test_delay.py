import math
from functools import partial
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate, optimize

from bandits.delay import EDGES, DelayLaw, DelaySums, learn, product_limit
from bandits.delay_bins import BINS, FIELDS, bin_of
from bandits.delay_exponential import (
    PRIOR_MEAN,
    PRIOR_REWARDS,
    Ages,
    Cohorts,
    curve,
    em_step,
    still_to_come,
)
from bandits.strata import Spans
from bandits.sums import STEPS, Sums
from tests.bandits.delayed import Draw, LateWorld, bimodal, exponential, lognormal

Floats = NDArray[np.float64]


def sums_of(decisions: NDArray[np.int64], rewards: NDArray[np.int64]) -> Sums:
    return Sums(np.arange(len(decisions)), decisions, rewards, rewards * STEPS, rewards * STEPS * STEPS)


def spans_of(rows: int, block_s: float) -> Spans:
    ended = np.arange(rows, dtype=np.float64)[::-1] * block_s
    began: Floats = ended + block_s
    return Spans(began, ended)


def law_of(rate: Floats, window_s: float = 1.0) -> DelayLaw:
    """An exponential law that was not learned."""
    table = curve(rate, EDGES)
    return DelayLaw(window_s, rate, table, table, np.zeros(rate.size), np.zeros(rate.size, np.bool_))


def world(laws: list[Draw], rates: list[float], *, blocks: int, each: int, window_s: float, seed: int = 0) -> LateWorld:
    """Blocks of 100 s with `each` requests of every arm."""
    late = LateWorld(laws, 100.0, window_s, np.random.default_rng(seed))
    for _ in range(blocks):
        late.send([each] * len(laws), rates, 100.0)
    return late


def cells_of(rewards: list[tuple[int, int, float]], window_s: float) -> dict[tuple[int, int], dict[str, int]]:
    """Count (arm, block, age) as a worker does."""
    cells: dict[tuple[int, int], dict[str, int]] = {}
    for arm, block, age_s in rewards:
        fields = cells.setdefault((arm, block), {})
        for name, number in {
            "rewards": 1,
            "delay_ms": int(age_s * 1e3),
            FIELDS[bin_of(age_s, window_s)]: 1,
        }.items():
            fields[name] = fields.get(name, 0) + number
    return cells


rewards_seen = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4), st.floats(0.0, 60.0)), max_size=30)


@given(rewards_seen, st.randoms(use_true_random=False))
def test_the_order_of_rewards_changes_no_integer(rewards: list[tuple[int, int, float]], order: Random) -> None:
    shuffled = rewards.copy()
    order.shuffle(shuffled)
    first, second = (DelaySums.from_cells(cells_of(some, 60.0), 3) for some in (rewards, shuffled))
    sums = Sums.from_cells(cells_of(rewards, 60.0), 3)

    assert (first.delay_ms == second.delay_ms).all()
    assert (first.bins == second.bins).all()
    assert (first.bins.sum(axis=2) == sums.rewards).all()


def test_sums_that_are_none_are_refused() -> None:
    zeros: Any = np.zeros((2, 1), np.int64)
    for delay_ms, bins in (
        (zeros, np.zeros((2, 1, 3), np.int64)),
        (zeros - 1, np.zeros((2, 1, BINS), np.int64)),
        (zeros, np.full((2, 1, BINS), -1)),
        (zeros.astype(np.float64), np.zeros((2, 1, BINS), np.int64)),
    ):
        with pytest.raises(ValueError, match=r"delays must|not be negative|must be int64"):
            DelaySums(delay_ms, bins)
    with pytest.raises(ValueError, match=r"0\.\.0"):
        DelaySums.from_cells({(1, 0): {}}, 1)


@pytest.mark.parametrize("rate", [0.01, 0.3, 4.0, 60.0, 5e3])
@pytest.mark.parametrize(("began", "ended"), [(0.4, 0.0), (0.9, 0.85), (1.6, 0.4), (0.5, 0.499999)])
def test_what_is_still_to_come_is_what_integration_finds(rate: float, began: float, ended: float) -> None:
    def density(delay: float) -> float:
        return rate * math.exp(-rate * delay) / -math.expm1(-rate)

    def over_ages(power: int) -> float:
        def of_age(age: float) -> float:
            return float(
                integrate.quad(lambda d: d**power * density(d), age, 1.0, points=[min(age + 5 / rate, 1.0)])[0]
            )

        inside = integrate.quad(of_age, ended, min(began, 1.0), points=[min(ended + 5 / rate, began, 1.0)], limit=200)[
            0
        ]
        return float(inside) / (began - ended)

    ages = Ages.of(Spans(np.array([began * 7.0]), np.array([ended * 7.0])), 7.0)
    missing, later = still_to_come(np.array([rate]), ages)

    assert missing[0, 0] == pytest.approx(over_ages(0), rel=1e-5, abs=1e-7)
    assert later[0, 0] == pytest.approx(over_ages(1), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("seed", range(4))
def test_em_ends_where_brute_force_finds_the_likeliest_rates(seed: int) -> None:
    rng = np.random.default_rng(seed)
    late = world([exponential(40.0), exponential(350.0)], [0.3, 0.2], blocks=12, each=40, window_s=900.0, seed=seed)
    decisions, rewards = late.decisions.astype(np.float64), late.rewards.astype(np.float64)
    cohorts = Cohorts.of(late.spans, 900.0, decisions, rewards)
    reporting = rng.uniform(0.1, 0.4, (12, 2))
    counted, waited = rewards.sum(axis=0), late.delay_ms.sum(axis=0) / 9e5
    rate = np.full(2, 10.0)
    for _ in range(400):
        rate = em_step(cohorts, counted, waited, reporting, rate)

    def minus_log(log_rate: float, column: int) -> float:
        """The likelihood of all that was seen and not seen, with the prior as so many earlier rewards of its mean delay."""
        one = math.exp(log_rate)
        n, s, p = (table[:, column] for table in (cohorts.decisions, cohorts.rewards, reporting))
        # The ages of a row's requests by 400 points, as likely as each other.
        steps = (np.arange(400) + 0.5) / 400
        ages = np.minimum(late.spans.ended[:, None] / 900.0 + steps * (100.0 / 900.0), 1.0)
        arrived = (np.expm1(-one * ages) / np.expm1(-one)).mean(axis=1)
        events = counted[column] + PRIOR_REWARDS
        seen = events * math.log(one / -math.expm1(-one)) - one * (waited[column] + PRIOR_REWARDS * PRIOR_MEAN)
        return -float(seen + ((n - s) * np.log(1.0 - p * arrived)).sum())

    for arm in range(2):
        found = optimize.minimize_scalar(partial(minus_log, column=arm), bounds=(-4.0, 8.0), method="bounded")
        assert rate[arm] == pytest.approx(math.exp(found.x), rel=2e-3)


LAWS: dict[str, tuple[Draw, bool]] = {
    "exponential": (exponential(80.0), False),
    "slow exponential": (exponential(600.0), False),
    "bimodal": (bimodal(10.0, 700.0), True),
    "all in the last tenth": (lambda rng, count: rng.uniform(900.0, 1000.0, count), True),
}


@pytest.mark.parametrize("name", LAWS)
def test_a_known_law_is_found_and_the_right_form_used(name: str) -> None:
    draw, is_limit = LAWS[name]
    late = world([draw, exponential(80.0)], [0.3, 0.3], blocks=40, each=500, window_s=1000.0)

    law = learn(late.sums, late.delays, late.spans, 1000.0)
    seen = draw(np.random.default_rng(1), 400_000)
    seen = np.sort(seen[seen <= 1000.0])
    truth = np.searchsorted(seen, EDGES * 1000.0, side="right") / seen.size

    assert law.is_limit.tolist() == [is_limit, False]
    # 30 blocks are older than the window; four standard errors of a share at its worst, and the bins' straight lines.
    rewards = 30 * 500 * 0.3 * (seen.size / 400_000)
    assert law.used[:, 0] == pytest.approx(truth, abs=4 * 0.5 / math.sqrt(rewards))
    # Where the exponential is kept it knows more than the limit; where it is not it is wrong.
    assert (np.abs(law.exponential[:, 0] - truth).max() > 0.1) == is_limit


@pytest.mark.parametrize(("each", "is_limit"), [(100, True), (4_000, False)])
def test_rewards_that_come_at_once_are_known_to_whatever_the_prior_of_the_exponential_says(
    each: int, is_limit: bool
) -> None:
    late = world([lambda _, count: np.zeros(count)], [0.3], blocks=20, each=each, window_s=1000.0)
    law = learn(late.sums, late.delays, late.spans, 1000.0)

    # Five rewards of a tenth of the window are half a window of waiting, shared out over all rewards: of 600 the
    # exponential would keep a third back beyond the first edge. There the limit is used, which knows better.
    mean = PRIOR_REWARDS * PRIOR_MEAN / (0.3 * 20 * each)
    kept_back = math.exp(-EDGES[1] / mean)
    assert 1.0 - law.exponential[1, 0] == pytest.approx(kept_back, abs=0.05)
    assert (kept_back > 0.1) == is_limit
    assert law.is_limit.tolist() == [is_limit]
    assert law.used[1, 0] >= 0.98
    # Nothing is awaited but of the youngest, whose age is an edge's.
    assert law.arrived(late.spans)[:-1, 0] == pytest.approx(np.ones(19), abs=0.01)


def test_what_has_not_had_time_to_come_is_no_evidence_of_haste() -> None:
    # All requests are younger than the slow arm's mean: the mean of what was observed would be 20 s, not 100.
    late = world([exponential(100.0), exponential(5.0)], [0.3, 0.3], blocks=1, each=40_000, window_s=1000.0)
    law = learn(late.sums, late.delays, late.spans, 1000.0)

    naive = late.delay_ms[0, 0] / late.rewards[0, 0] / 1e3
    assert naive < 35.0
    assert 1000.0 / law.rate[0] == pytest.approx(100.0, rel=0.35)
    assert 1000.0 / law.rate[1] == pytest.approx(5.0, rel=0.1)


def test_trials_are_what_the_rewards_speak_for() -> None:
    # Decisions times what has arrived: rewards over trials is the rate at every age, whatever the law.
    laws = [exponential(30.0), lognormal(150.0), bimodal(10.0, 400.0)]
    late = world(laws, [0.3, 0.2, 0.25], blocks=20, each=4000, window_s=1000.0)
    law = learn(late.sums, late.delays, late.spans, 1000.0)
    trials = law.trials(late.sums, late.spans)
    # What a law loses beyond the window is no reward.
    inside = [np.mean(draw(np.random.default_rng(2), 100_000) <= 1000.0) for draw in laws]

    old = late.spans.ended >= 1000.0
    assert (trials[old] == late.decisions[old]).all()
    young = slice(10, 18)
    rates = late.rewards[young].sum(axis=0) / trials[young].sum(axis=0)
    # 10 % on top of the error of counting, for the law itself.
    assert rates == pytest.approx(np.array([0.3, 0.2, 0.25]) * inside, rel=0.1)


@settings(deadline=None)
@given(st.floats(0.0, 3.0), st.floats(1e-3, 2.0), st.sampled_from([0.01, 1.0, 30.0, 1e5]))
def test_arrived_is_the_mean_of_the_law_over_the_ages(ended: float, length: float, rate: float) -> None:
    law = law_of(np.array([rate]))
    arrived = float(law.arrived(Spans(np.array([ended + length]), np.array([ended])))[0, 0])

    ages = ended + (np.arange(20_000) + 0.5) / 20_000 * length
    assert arrived == pytest.approx(np.interp(ages, EDGES, law.used[:, 0], right=1.0).mean(), abs=2e-4)
    assert ended < 1.0 or arrived == 1.0


def test_requests_of_one_moment_have_one_age() -> None:
    law = law_of(np.array([3.0]))
    moment = np.array([0.2, 1.0, 4.0])

    assert law.arrived(Spans(moment, moment))[:, 0] == pytest.approx(np.interp(moment, EDGES, law.used[:, 0]), abs=1e-5)


def test_permuting_arms_permutes_the_laws() -> None:
    late = world([exponential(30.0), bimodal(10.0, 400.0)], [0.3, 0.1], blocks=15, each=300, window_s=900.0)
    law = learn(late.sums, late.delays, late.spans, 900.0)
    swapped = learn(
        sums_of(late.decisions[:, ::-1].copy(), late.rewards[:, ::-1].copy()),
        DelaySums(late.delay_ms[:, ::-1].copy(), late.bins[:, ::-1].copy()),
        late.spans,
        900.0,
    )

    assert swapped.used == pytest.approx(law.used[:, ::-1], abs=1e-9)
    assert swapped.is_limit.tolist() == law.is_limit[::-1].tolist()


def test_the_unit_of_time_does_not_matter() -> None:
    late = world([exponential(30.0), exponential(200.0)], [0.3, 0.1], blocks=15, each=300, window_s=900.0)
    law = learn(late.sums, late.delays, late.spans, 900.0)
    days = Spans(late.spans.began * 86_400.0, late.spans.ended * 86_400.0)
    slow = learn(late.sums, DelaySums(late.delay_ms * 86_400, late.bins), days, 900.0 * 86_400.0)

    assert slow.used == pytest.approx(law.used, abs=1e-12)
    assert slow.trials(late.sums, days) == pytest.approx(law.trials(late.sums, late.spans))


def test_from_the_last_law_one_round_stays_where_it_was() -> None:
    late = world([exponential(30.0), exponential(200.0)], [0.3, 0.1], blocks=15, each=300, window_s=900.0)
    law = learn(late.sums, late.delays, late.spans, 900.0)
    again = learn(late.sums, late.delays, late.spans, 900.0, law)

    assert again.used == pytest.approx(law.used, abs=0.01)


def test_a_law_of_other_arms_is_begun_anew() -> None:
    late = world([exponential(30.0), exponential(200.0)], [0.3, 0.1], blocks=5, each=300, window_s=900.0)
    other = law_of(np.array([1.0]), 900.0)

    assert (
        learn(late.sums, late.delays, late.spans, 900.0, other).rate
        == learn(late.sums, late.delays, late.spans, 900.0).rate
    ).all()


def test_an_arm_without_traffic_has_the_delays_of_the_prior() -> None:
    late = world([exponential(30.0), exponential(30.0)], [0.3, 0.3], blocks=15, each=300, window_s=900.0)
    late.decisions[:, 1] = late.rewards[:, 1] = late.delay_ms[:, 1] = late.bins[:, 1] = 0
    law = learn(late.sums, late.delays, late.spans, 900.0)

    # A law is straight between its edges: 2 % of the mean.
    assert law.mean_s[1] == pytest.approx(900.0 * PRIOR_MEAN, rel=0.03)
    assert not law.trials(late.sums, late.spans)[:, 1].any()


EXTREMES = {
    "no rewards": (500, 0, 0),
    "all rewarded at once": (500, 500, 0),
    "all rewarded at the last moment": (500, 500, BINS - 1),
    "rewards before their decisions": (0, 40, 3),
    "nothing": (0, 0, 0),
    "a billion": (10**9, 10**8, 12),
}


@pytest.mark.parametrize("window_s", [0.0, 1e-3, 900.0, 1e9])
@pytest.mark.parametrize("rows", [0, 1, 12])
@pytest.mark.parametrize("name", EXTREMES)
def test_extremes_give_laws_and_trials(name: str, rows: int, window_s: float) -> None:
    decided, rewarded, number = EXTREMES[name]
    decisions, rewards = np.full((rows, 2), decided), np.full((rows, 2), rewarded)
    bins = np.zeros((rows, 2, BINS), np.int64)
    bins[..., number] = rewarded
    # A sum of delays that is longer than the window allows: clocks differ.
    delays = DelaySums(rewards * int(1e3 * EDGES[number + 1] * window_s + 1), bins)
    sums, spans = sums_of(decisions, rewards), spans_of(rows, 100.0)

    law = learn(sums, delays, spans, window_s)
    trials = law.trials(sums, spans)

    for table in (law.exponential, law.limit, law.used):
        assert (table[0] == 0.0).all()
        assert table[-1] == pytest.approx(1.0, abs=1e-12)
        assert (np.diff(table, axis=0) >= -1e-12).all()
    assert (trials >= rewards).all()
    assert (trials <= np.maximum(decisions, rewards)).all()
    if window_s == 0.0:
        assert (trials == np.maximum(decisions, rewards)).all()


def test_what_does_not_fit_is_refused() -> None:
    late = world([exponential(30.0)], [0.3], blocks=3, each=30, window_s=900.0)
    for spans, window_s, match in (
        (spans_of(2, 100.0), 900.0, "differ"),
        (late.spans, -1.0, "window"),
        (late.spans, math.nan, "window"),
        (late.spans, math.inf, "window"),
    ):
        with pytest.raises(ValueError, match=match):
            learn(late.sums, late.delays, spans, window_s)


def test_the_product_limit_of_a_table_by_hand() -> None:
    # Two rows: one past the window, one half a window old, which has shown the bins up to EDGES[22] = 1/2 only.
    bins = np.zeros((2, 1, BINS), np.int64)
    bins[0, 0, [21, 22, 23]] = [30, 6, 4]
    bins[1, 0, 21] = 60
    prior = np.ones((BINS + 1, 1))
    prior[0] = 0.0

    found = product_limit(bins, np.array([1.0, 0.5]), prior)

    # From the top: 4 of 42 (2 of them the prior's) came last; then 6 of 38; below, of both rows, 90 of 92.
    assert found[[21, 22, 23], 0] == pytest.approx([38 / 42 * 32 / 38 * 2 / 92, 38 / 42 * 32 / 38, 38 / 42])


def test_a_thousand_rows_are_joined_to_few() -> None:
    late = world([exponential(50.0), exponential(2e4)], [0.3, 0.3], blocks=1344, each=30, window_s=7e4)
    cohorts = Cohorts.of(late.spans, 7e4, late.decisions.astype(np.float64), late.rewards.astype(np.float64))
    law = learn(late.sums, late.delays, late.spans, 7e4)

    assert cohorts.decisions.shape[0] <= 192
    # The 700 young rows are all there, and 96 of the old.
    assert cohorts.decisions.sum() == late.decisions[1344 - 700 - 96 :].sum()
    # Where one joined row ends the next begins.
    assert cohorts.ages.begin[:-1] == pytest.approx(cohorts.ages.end[1:], abs=1e-5)
    assert 7e4 / law.rate == pytest.approx(np.array([50.0, 2e4]), rel=0.1)
