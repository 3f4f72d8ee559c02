import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bandits.assess import ArmFacts, Assessment, Question, assess
from bandits.evidence import GridCache
from bandits.rules import Objective, Policy, StopRule
from bandits.sums import STEPS, Sums

V = 1e-6


def sums(trials: Any, successes: Any) -> Sums:
    n, s = np.array(trials, np.int64), np.array(successes, np.int64)
    return Sums(np.arange(len(n)), n, n, s * STEPS, s * STEPS**2)


def question(trials: Any, successes: Any, costs: tuple[float, ...] = (0.0, 0.0, 0.0), **changes: Any) -> Question:
    """Ask about closed blocks of 2 s and an experiment with no cycle; costs as shares of the value."""
    made = sums(trials, successes)
    rows = len(made.blocks)
    arms = tuple(ArmFacts(f"v{number + 1}", cost * V) for number, cost in enumerate(costs))
    given_: dict[str, Any] = {
        "arms": arms,
        "control": 0,
        "sums": made,
        "open_block": rows,
        "age_s": 2.0 * rows,
        "objective": Objective(V, window_s=10.0),
        "policy": Policy(block_s=2.0),
        "stop": StopRule(cycle_s=None),
        "blocks_closed": rows,
    }
    return Question(**(given_ | changes))


def same(one: Assessment, other: Assessment) -> None:
    assert one.weights == pytest.approx(other.weights, abs=1e-9)
    assert one.evidence_log == pytest.approx(other.evidence_log, abs=1e-6)
    assert one.remaining_q95 == pytest.approx(other.remaining_q95, abs=1e-9)
    for name in ("leader", "is_ready", "not_ready", "is_drained", "retire", "is_over"):
        assert getattr(one, name) == getattr(other, name)
    assert one.refuted.tolist() == other.refuted.tolist()


# Ten blocks: v2 earns .97, v3 .92, v1 .90, with no costs.
TRIALS = [[200, 200, 200]] * 10
CLEAR = [[180, 194, 184]] * 10


def test_a_clear_winner_ends_the_experiment() -> None:
    found = assess(question(TRIALS, CLEAR))

    assert (found.leader, found.is_over, found.retire) == (1, True, (0, 2))
    assert found.rate == pytest.approx([0.90, 0.97, 0.92], abs=0.005)
    assert found.value_usd == pytest.approx(V * found.rate)
    assert (found.value_low < found.value_usd).all()
    assert (found.value_usd < found.value_high).all()
    assert found.remaining_q95 <= found.threshold == 0.01
    assert found.refuted.tolist() == [True, False, True]
    assert (found.evidence_log[[0, 2]] >= found.evidence_bar_log).all()
    assert found.evidence_bar_log == pytest.approx(math.log(2 / 0.05))
    assert found.margin == 0.01
    assert found.certified_gap <= found.margin


def test_cost_can_turn_the_order() -> None:
    found = assess(question(TRIALS, CLEAR, costs=(0.01, 0.20, 0.01)))

    assert (found.leader, found.retire) == (2, (1,))
    # At a fifth of the value not even a perfect v2 could win.
    assert found.evidence_log[1] == 1000.0


def test_equal_split_until_every_live_arm_has_enough() -> None:
    found = assess(question([[190, 400, 400]] * 1, [[170, 380, 390]]))
    assert found.weights == pytest.approx([1 / 3] * 3)

    found = assess(question([[200, 400, 400]] * 1, [[150, 380, 390]]))
    assert found.weights[0] == pytest.approx(0.01, abs=1e-3)


def test_the_sprint_confirms_those_not_yet_refuted() -> None:
    # Equal arms with narrow beliefs: nothing of value remains, and nothing is refuted at 1 % with this few.
    found = assess(
        question([[900, 900]] * 5, [[882, 880]] * 5, costs=(0.0, 0.0), stop=StopRule(cycle_s=None, margin=0.002))
    )

    assert found.is_drained
    assert not found.is_over
    assert found.weights == pytest.approx([0.98 * 0.6 + 0.01, 0.98 * 0.4 + 0.01])


def test_in_the_sprint_a_refuted_arm_gets_the_floor() -> None:
    costs = (0.0, 0.0, 0.3)
    narrow = StopRule(cycle_s=None, margin=0.002)
    found = assess(question([[900, 900, 900]] * 5, [[882, 880, 881]] * 5, costs=costs, stop=narrow))

    assert found.is_drained
    assert found.refuted.tolist() == [False, False, True]
    assert found.weights == pytest.approx([0.97 * 0.6 + 0.01, 0.97 * 0.4 + 0.01, 0.01])
    assert found.retire == (2,)


def test_the_sprint_brings_outcomes_to_starved_arms_when_nothing_else_is_missing() -> None:
    # v1 has 260 outcomes at a fifteenth of v2's 8 %: as good an arm would have had 21 successes, and 30 are asked for.
    starved = ([[52, 900]] * 5, [[1, 72], [0, 72], [0, 72], [0, 72], [0, 72]])
    found = assess(question(*starved, costs=(0.0, 0.0)))
    younger = assess(question(*starved, costs=(0.0, 0.0), blocks_closed=4))
    untried = assess(question(*starved, costs=(0.0, 0.0), stop=StopRule(cycle_s=None, min_per_arm=300)))

    assert not found.is_drained
    assert found.remaining_q95 == pytest.approx(0.0)
    assert found.not_ready == ("arm v1 has 1 effective successes, 30 are needed",)
    assert found.sprint.is_running
    assert found.weights == pytest.approx([0.98 * 0.4 + 0.01, 0.98 * 0.6 + 0.01])
    # Time can't be hurried, and the first equal split comes first.
    assert not younger.sprint.is_running
    assert untried.weights == pytest.approx([0.5, 0.5])


def sized(counts: list[int], sizes: list[float], blocks: int = 10) -> Question:
    """Ask about continuous rewards of one size an arm: so many in each block's 200 outcomes."""
    n, k = np.full((blocks, 2), 200, np.int64), np.array([counts] * blocks, np.int64)
    steps = np.rint(np.array(sizes) * STEPS).astype(np.int64)
    made = Sums(np.arange(blocks), n, n, k * steps, k * steps**2)
    objective = Objective(V, reward_type="continuous", window_s=10.0)
    return question(n, k, costs=(0.0, 0.0), sums=made, objective=objective)


@pytest.mark.parametrize(
    ("counts", "sizes", "scarce"),
    [([20, 2], [0.5, 0.5], "v2"), ([20, 0], [0.5, 0.5], "v2"), ([2, 40], [1.0, 0.01], "v1")],
)
def test_nothing_is_claimed_of_an_arm_that_lacks_successes(counts: list[int], sizes: list[float], scarce: str) -> None:
    found = assess(sized(counts, sizes))

    # The evidence is shown, but a mean of so few rewards is not normal enough to believe it; the sprint brings more.
    assert found.evidence_log[1] >= found.evidence_bar_log
    assert scarce in found.not_ready[0]
    assert found.refuted.tolist() == [False, False]
    assert found.certified_gap == math.inf
    assert found.sprint.is_running
    assert found.weights == pytest.approx([0.98 * 0.6 + 0.01, 0.98 * 0.4 + 0.01])


def test_with_enough_successes_the_same_evidence_is_a_claim() -> None:
    found = assess(sized([20, 4], [0.5, 0.5]))

    assert found.not_ready == ()
    assert found.refuted.tolist() == [False, True]
    assert found.certified_gap <= found.margin


def test_no_sprint_is_wasted_on_an_arm_that_is_never_rewarded() -> None:
    # v1 has had 400 rewards in 4,000 outcomes; v2 not one in as many, and would have two fifths of the traffic for good.
    found = assess(sized([20, 0], [0.5, 0.5], blocks=20))

    assert found.not_ready == ("arm v2 has 0 effective successes, 30 are needed, and more traffic brings hardly any",)
    assert not found.sprint.is_running
    assert found.weights == pytest.approx([0.99, 0.01])
    assert not found.is_over


@pytest.mark.parametrize(
    ("times", "begins", "goes_on"), [(1.1, True, True), (2.9, True, True), (3.1, False, True), (6.1, False, False)]
)
def test_a_sprint_begins_before_all_is_drained_and_goes_on_while_estimates_waver(
    times: float, begins: bool, goes_on: bool
) -> None:
    asked = question([[900, 900]] * 5, [[882, 880]] * 5, costs=(0.0, 0.0))
    delta = assess(asked).remaining_q95 / times
    under_way, fresh = (
        assess(
            replace(
                asked,
                stop=StopRule(cycle_s=None, margin=0.002, delta=delta),
                is_sprint=np.array([False] * 4 + [is_sprint]),
            )
        )
        for is_sprint in (True, False)
    )

    assert not under_way.is_drained
    assert fresh.sprint.is_running == begins
    assert under_way.sprint.is_running == goes_on


def test_no_sprint_starves_a_refuted_arm_while_something_is_in_doubt() -> None:
    # Refuted as better by more than a margin of half its value, and still 2 % better with 5 %.
    asked = question([[600, 600]] * 5, [[60, 54]] * 5, costs=(0.0, 0.0))
    wide = StopRule(cycle_s=None, margin=0.5, delta=assess(asked).remaining_q95 / 2.0)
    found, narrow = assess(replace(asked, stop=wide)), assess(replace(asked, stop=replace(wide, margin=0.002)))

    assert narrow.sprint.is_running
    assert not found.is_drained
    assert found.refuted[1]
    assert not found.sprint.is_running
    assert found.weights[1] == pytest.approx(found.p_best[1], abs=0.02)
    assert found.weights[1] > 0.02


def test_weights_explore_less_where_evidence_ends_nothing() -> None:
    ready = question([[600, 600]] * 5, [[36, 34]] * 5, costs=(0.0, 0.0))
    waiting = replace(ready, stop=replace(ready.stop, min_age_s=1e9))

    hurried, patient = assess(ready), assess(waiting)
    assert hurried.p_best == pytest.approx(patient.p_best)
    assert not hurried.sprint.is_running
    leader = hurried.leader
    assert patient.weights[leader] > hurried.weights[leader] + 0.005
    # A policy that weighs information against regret gets the belief as it is.
    ids = replace(ready.policy, kind="ids")
    assert assess(replace(ready, policy=ids)).weights == pytest.approx(assess(replace(waiting, policy=ids)).weights)


def test_a_share_is_capped() -> None:
    arms = tuple(ArmFacts(f"v{n}", 0.0, max_share=cap) for n, cap in enumerate((1.0, 0.5, 1.0)))
    assert assess(question(TRIALS, CLEAR, arms=arms)).weights[1] == pytest.approx(0.5)


def test_an_arm_that_is_not_live_gets_nothing_and_is_no_challenger() -> None:
    arms = tuple(ArmFacts(f"v{n}", 0.0, is_live=n != 1) for n in range(3))
    found = assess(question(TRIALS, CLEAR, arms=arms))

    assert found.weights[1] == 0.0
    assert (found.leader, found.evidence_log[1], found.refuted[1]) == (2, 0.0, np.False_)


def test_without_live_arms_control_serves() -> None:
    arms = tuple(ArmFacts(f"v{n}", 0.0, is_live=False) for n in range(3))
    found = assess(question(TRIALS, CLEAR, arms=arms, control=2))

    assert found.weights.tolist() == [0.0, 0.0, 1.0]
    assert (found.is_over, found.leader) == (False, 2)


def test_the_last_live_arm_is_the_end() -> None:
    arms = tuple(ArmFacts(f"v{n}", 0.0, is_live=n == 1) for n in range(3))
    found = assess(question(TRIALS, CLEAR, arms=arms))

    assert (found.weights.tolist(), found.is_over, found.retire) == ([0.0, 1.0, 0.0], True, ())


def test_a_single_arm_is_no_experiment_but_has_an_answer() -> None:
    found = assess(question([[100]] * 6, [[90]] * 6, costs=(0.1,)))

    assert (found.weights.tolist(), found.leader, found.is_over) == ([1.0], 0, False)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_rates_of_nought_and_one_are_finite_and_decide_nothing_wrong(rate: float) -> None:
    trials = np.full((6, 3), 300)
    found = assess(question(trials, (trials * rate).astype(int)))

    assert np.isfinite(found.value_usd).all()
    assert np.isfinite(found.weights).all()
    if rate == 0.0:
        assert not found.is_ready


def test_before_the_first_decision() -> None:
    found = assess(question(np.zeros((0, 3), int), np.zeros((0, 3), int)))

    assert found.weights == pytest.approx([1 / 3] * 3)
    assert found.rate == pytest.approx([0.05] * 3)
    assert (found.is_ready, found.is_drained, found.is_over, found.retire) == (False, False, False, ())


def test_an_arm_without_data_keeps_the_split_equal() -> None:
    found = assess(question([[500, 500, 0]] * 5, [[450, 480, 0]] * 5))

    assert found.weights == pytest.approx([1 / 3] * 3)
    assert any("v3 has 0 outcomes" in reason for reason in found.not_ready)


def test_blocks_without_rewards_are_pending_not_failures() -> None:
    table = sums(TRIALS, CLEAR)
    silent = table.decisions.copy()
    silent[-1] = 0
    quiet = Sums(table.blocks, table.decisions, silent, silent * STEPS, silent * STEPS**2)
    found = assess(question(TRIALS, CLEAR, sums=quiet))

    assert found.rate == pytest.approx([1.0] * 3, abs=0.01)


def test_conversions_of_blocks_cut_short_ripen_by_the_clock() -> None:
    # Ten blocks, numbered as if each had lasted 2 s, that in truth began half a second apart.
    changes: dict[str, Any] = {"objective": Objective(V, window_s=10.0, feedback="conversions"), "age_s": 13.0}
    by_number = assess(question(TRIALS, CLEAR, **changes))
    by_clock = assess(question(TRIALS, CLEAR, **changes, starts_s=np.arange(10) * 0.5))

    assert by_number.rate[1] == pytest.approx(0.97, abs=0.02)
    # Six are ripe: those followed by one that began at least 10 s ago.
    few = assess(question(TRIALS[:6], CLEAR[:6]))
    assert by_clock.rate == pytest.approx(few.rate, abs=1e-9)


def test_nothing_is_decided_on_a_cost_that_is_not_confirmed() -> None:
    arms = tuple(ArmFacts(f"v{n}", 0.0, is_cost_known=n != 2) for n in range(3))
    found = assess(question(TRIALS, CLEAR, arms=arms))

    assert found.weights == pytest.approx([1 / 3] * 3)
    assert found.not_ready == ("arm v2's cost is not confirmed by probes in traffic yet",)


def test_requests_of_many_rows_bring_fractions_and_are_one_trial_each() -> None:
    # The mean of 4 rows: less noise than a coin of the same mean, so that the claim can only be too cautious.
    table = sums(TRIALS, CLEAR)
    quarter = STEPS // 4
    fractions = Sums(table.blocks, table.decisions, table.rewards, table.reward_q - quarter, table.reward_q * quarter)
    found = assess(question(TRIALS, CLEAR, sums=fractions))

    assert (found.leader, found.is_over) == (1, True)
    assert found.rate[1] == pytest.approx(0.97, abs=0.01)


def test_prices_change_weights_at_once() -> None:
    cheap = assess(question(TRIALS, CLEAR, costs=(0.05, 0.02, 0.0)))
    dear = assess(question(TRIALS, CLEAR, costs=(0.05, 0.25, 0.0)))

    assert (cheap.leader, dear.leader) == (1, 2)
    assert cheap.rate.tolist() == dear.rate.tolist()


def test_with_a_cycle_the_end_waits_for_it() -> None:
    daily = StopRule(cycle_s=100.0)
    assert not assess(question(TRIALS, CLEAR, stop=daily)).is_ready
    assert assess(question(TRIALS, CLEAR, stop=daily, age_s=100.0)).is_over
    # With no cycle to wait for, the claim has to hold at both ends of the level's band.
    early = assess(question(TRIALS, CLEAR, stop=replace(daily, min_cycles=0.0)))
    assert early.is_ready
    assert (early.evidence_log <= assess(question(TRIALS, CLEAR)).evidence_log + 1e-9).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"is_sprint": np.ones(3, np.bool_)}, "is_sprint must be one per row of 10"),
        ({"control": 3}, "with control 3 do not fit"),
        ({"arms": (ArmFacts("a", 0.0),)}, "1 arms with control 0 do not fit sums of 3"),
        ({"policy": Policy(floor=0.2)}, "floor x arms must be at most 0.5, got 0.2 x 3"),
        ({"age_s": math.nan}, "age must be finite"),
        ({"starts_s": np.arange(3.0)}, "starts_s must be one age per row of 10"),
        ({"open_share": 1.5}, r"open_share in 0\.\.1"),
    ],
)
def test_what_can_not_be_answered_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        question(TRIALS, CLEAR, **changes)


def test_impossible_arms_are_refused() -> None:
    with pytest.raises(ValueError, match="arm a: cost must be"):
        ArmFacts("a", math.nan)
    with pytest.raises(ValueError, match="arm a: max_share"):
        ArmFacts("a", 0.0, max_share=0.0)


def test_a_clock_that_jumps_back_is_not_ready() -> None:
    assert not assess(question(TRIALS, CLEAR, age_s=-5.0, stop=StopRule(cycle_s=None, min_age_s=1.0))).is_ready


Counts = NDArray[np.int64]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Counts, Counts, tuple[float, ...]]:
    rows, arms = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    trials = rng.integers(0, draw(st.sampled_from([3, 50, 1000])), (rows, arms))
    rate = draw(st.sampled_from([0.0, 0.02, 0.3, 0.97, 1.0]))
    successes = rng.binomial(trials, np.clip(rng.normal(rate, 0.02, arms), 0.0, 1.0) if 0 < rate < 1 else rate)
    return trials, successes, tuple(rng.uniform(0, 0.3, arms))


@settings(deadline=None, max_examples=60)
@given(worlds())
def test_weights_are_a_distribution_with_a_floor(world: tuple[Counts, Counts, tuple[float, ...]]) -> None:
    found = assess(question(*world))

    assert found.weights.sum() == pytest.approx(1.0)
    assert (found.weights >= 0.01 - 1e-12).all()
    assert found.p_best.sum() == pytest.approx(1.0)
    for field in (found.rate, found.value_usd, found.value_low, found.value_high, found.evidence_log, found.drop):
        assert np.isfinite(field).all()
    assert found.leader not in found.retire
    assert not found.is_over or found.is_drained


@settings(deadline=None, max_examples=40)
@given(worlds(), st.sampled_from([2.0**-30, 1e-3, 7.0, 2.0**20]))
def test_scaling_money_scales_nothing_else(world: tuple[Counts, Counts, tuple[float, ...]], factor: float) -> None:
    one = question(*world)
    arms = tuple(replace(arm, cost_usd=arm.cost_usd * factor) for arm in one.arms)
    other = replace(one, arms=arms, objective=Objective(V * factor, window_s=10.0))

    before, after = assess(one), assess(other)

    same(before, after)
    assert after.value_usd == pytest.approx(before.value_usd * factor, rel=1e-9, abs=1e-9 * V * factor)


@settings(deadline=None, max_examples=30)
@given(worlds())
def test_the_cache_changes_nothing(world: tuple[Counts, Counts, tuple[float, ...]]) -> None:
    trials, successes, costs = world
    cache = GridCache()
    for rows in range(1, len(trials) + 1):
        asked = question(trials[:rows], successes[:rows], costs)

        same(assess(asked, cache), assess(asked))
