"""What weights believe of conversions, and what may be proved with: late rewards, and rewards that never come."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandits.arrivals import GROWTH, REFRESHES, LawCache, delays_of, known_of, spans_of
from bandits.assess import ArmFacts, Question, assess
from bandits.delay import DelayLaw, DelaySums, learn
from bandits.delay_bins import FIELDS, bin_of
from bandits.rules import Objective, Policy, StopRule
from bandits.strata import spans_on_grid
from bandits.sums import STEPS, Sums
from tests.bandits.delayed import Draw, LateWorld, exponential

BLOCK_S, WINDOW_S = 1000.0, 20_000.0
CONVERSIONS = Objective(1.0, window_s=WINDOW_S, feedback="conversions")
# Half of the late arm's rewards take longer than 3,500 s.
FAST, LATE = exponential(100.0), exponential(5000.0)


def world(rates: tuple[float, float], seconds: int, laws: tuple[Draw, Draw] = (FAST, LATE), seed: int = 1) -> LateWorld:
    """Let 200 requests of each arm come in every 500 s."""
    late = LateWorld(laws, BLOCK_S, WINDOW_S, np.random.default_rng(seed))
    for _ in range(seconds // 500):
        late.send((200, 200), rates, 500.0)
    return late


def law_of(late: LateWorld) -> DelayLaw:
    return learn(late.sums, late.delays, late.spans, WINDOW_S)


def question(late: LateWorld, **changes: Any) -> Question:
    """Ask in the midst of the world, with a law of its delays."""
    open_block = len(late.decisions) - 1
    given_: dict[str, Any] = {
        "arms": (ArmFacts("v1", 0.0), ArmFacts("v2", 0.0)),
        "control": 0,
        "sums": late.sums,
        "open_block": open_block,
        "age_s": late.now,
        "objective": CONVERSIONS,
        "policy": Policy(block_s=BLOCK_S),
        "stop": StopRule(cycle_s=None),
        "blocks_closed": open_block,
        "open_share": (late.now - open_block * BLOCK_S) / BLOCK_S,
        "law": law_of(late),
    }
    return Question(**(given_ | changes))


def test_of_explicit_feedback_the_weights_believe_what_claims_are_tested_on() -> None:
    known = known_of(question(world((0.1, 0.1), 5_000), objective=Objective(1.0, window_s=WINDOW_S)))

    assert known.believed is known.proof


def test_the_young_speak_for_as_many_trials_as_their_delays_allow() -> None:
    late = world((0.1, 0.1), 30_000)
    asked = question(late)

    believed = known_of(asked).believed

    # The law's exponential, cut off at the window, averaged over the ages of each row's requests by the trapezoid rule.
    for row, (began, ended) in enumerate(zip(late.spans.began, late.spans.ended, strict=True)):
        ages = np.linspace(ended, began, 20_001)
        for arm in range(2):
            rate = asked.law.rate[arm] / WINDOW_S  # type: ignore[union-attr]  # there is a law
            share = np.where(ages >= WINDOW_S, 1.0, np.expm1(-rate * ages) / np.expm1(-rate * WINDOW_S))
            wanted = max(float(share.mean()) * late.decisions[row, arm], late.rewards[row, arm])
            # Between the edges of the bins the law is straight: at most .008 of the decisions (bandits.delay_bins).
            assert believed.trials[row, arm] == pytest.approx(wanted, abs=0.008 * late.decisions[row, arm])
    assert (believed.total == late.rewards).all()


def test_of_rows_older_than_the_window_every_decision_is_known() -> None:
    late = world((0.1, 0.1), 30_000)
    is_past = late.spans.ended >= WINDOW_S

    known = known_of(question(late))

    assert is_past.sum() == 10
    for outcomes in (known.believed, known.proof):
        assert (outcomes.trials[is_past] == late.decisions[is_past]).all()
        assert (outcomes.pending[is_past] == 0).all()
    assert (known.proof.trials[~is_past] == 0).all()
    assert (known.proof.total[~is_past] == 0).all()
    assert (known.believed.pending[~is_past] == (late.decisions - late.rewards)[~is_past]).all()


def test_the_slow_arm_is_believed_to_be_as_good_as_it_is() -> None:
    late = world((0.1, 0.13), 15_000)

    found = assess(question(late))
    naive = (late.rewards.sum(axis=0) / late.decisions.sum(axis=0)).tolist()

    assert naive[1] < naive[0]
    # Four standard errors of 6,000 requests of which a fifth at least has had its time.
    assert found.rate == pytest.approx([0.1, 0.13], abs=4 * np.sqrt(0.1 / 1200))
    assert found.leader == 1


def test_no_estimate_of_a_delay_touches_a_claim() -> None:
    late = world((0.1, 0.2), 40_000)
    law = law_of(late)
    # Laws by which all has come, and by which next to nothing has.
    at_once, never = (replace(law, exponential=np.full_like(law.exponential, share)) for share in (1.0, 0.5))
    for made in (at_once, never):
        made.exponential[[0, -1]] = [[0.0], [1.0]]
    costs = {"arms": (ArmFacts("v1", 0.01), ArmFacts("v2", 0.05))}

    found = [assess(question(late, law=one, **costs)) for one in (at_once, never)]

    assert found[0].rate != pytest.approx(found[1].rate, rel=0.01)
    assert [one.leader for one in found] == [1, 1]
    for name in ("evidence_log", "refuted"):
        assert getattr(found[0], name).tolist() == getattr(found[1], name).tolist()
    assert found[0].certified_gap == found[1].certified_gap
    assert found[0].not_ready == found[1].not_ready


def test_the_level_of_a_claim_is_that_of_the_last_cycle_that_is_known_whole() -> None:
    late = world((0.1, 0.1), 40_000)
    asked = question(late, stop=StopRule(cycle_s=5_000.0))

    share = known_of(asked).proof.share

    # It ended a window ago: rows 15 to 19 of those that began 40,000 s ago, 39,000 s ago …
    assert np.flatnonzero(share).tolist() == [15, 16, 17, 18, 19]
    assert share.sum() == pytest.approx(1.0)


def test_a_cycle_is_seen_when_decisions_of_a_whole_one_are_older_than_the_window() -> None:
    late = world((0.1, 0.2), 40_000)
    costs = {"arms": (ArmFacts("v1", 0.02), ArmFacts("v2", 0.06))}

    early, then = (assess(question(late, stop=StopRule(cycle_s=cycle), **costs)) for cycle in (21_000.0, 20_000.0))

    # Before, the claim has to hold at the ends of a band around the level.
    assert early.evidence_log[0] < then.evidence_log[0]


def test_nothing_ends_before_five_blocks_are_older_than_the_window() -> None:
    young, old = (assess(question(world((0.05, 0.3), seconds))) for seconds in (24_000, 25_000))

    assert "4 blocks are older than the window, 5 are needed" in young.not_ready
    assert not young.is_over
    assert old.is_over
    assert old.leader == 1


def test_before_anything_is_older_than_the_window_weights_move_all_the_same() -> None:
    found = assess(question(world((0.05, 0.3), 10_000)))

    assert found.weights[1] > 0.9
    assert (found.evidence_log == 0.0).all()
    assert not found.is_ready


def test_a_window_shorter_than_a_block_lets_part_of_the_open_block_be_known() -> None:
    late = LateWorld((FAST, FAST), 50_000.0, WINDOW_S, np.random.default_rng(1))
    for _ in range(60):
        late.send((200, 200), (0.1, 0.1), 500.0)
    asked = question(late, policy=Policy(block_s=50_000.0), open_share=0.6)

    known = known_of(asked)

    assert (spans_of(asked).began.tolist(), spans_of(asked).ended.tolist()) == ([30_000.0], [0.0])
    # All but the last few hundred seconds of 30,000 have had their time; nothing is proved before the block is closed.
    assert 0.98 < known.believed.trials[0, 0] / late.decisions[0, 0] < 1.0
    assert known.proof.trials.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("rates", [(0.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
@pytest.mark.parametrize("seconds", [500, 30_000])
def test_rates_of_nought_and_one_are_finite(rates: tuple[float, float], seconds: int) -> None:
    found = assess(question(world(rates, seconds)))

    for field in (found.weights, found.rate, found.evidence_log, found.value_low, found.value_high):
        assert np.isfinite(field).all()
    assert found.weights.sum() == pytest.approx(1.0)


def test_all_pending_is_an_equal_split() -> None:
    never = exponential(1e12)
    found = assess(question(world((0.1, 0.1), 5_000, (never, never))))

    assert np.isfinite(found.weights).all()
    assert not found.is_ready


def test_before_the_first_decision_there_is_an_answer() -> None:
    nothing = Sums.empty(2)
    asked = question(world((0.1, 0.1), 500), sums=nothing, open_block=0, blocks_closed=0)
    asked = replace(asked, law=learn(nothing, DelaySums.from_cells({}, 2), spans_of(asked), WINDOW_S))

    assert assess(asked).weights == pytest.approx([0.5, 0.5])


def test_a_clock_set_back_makes_decisions_young_again_and_decides_nothing() -> None:
    late = world((0.05, 0.3), 30_000)

    found = assess(question(late, age_s=-100.0, starts_s=np.zeros(len(late.decisions))))

    assert np.isfinite(found.weights).all()
    assert not found.is_ready


def test_silence_is_0_wherever_0_lies_in_the_range() -> None:
    # A tenth of the requests earn 3, the others nothing: a mean of .3, with the range from -1 to 3.
    rows, n, paid = 30, 1000, 100
    decisions = np.full((rows, 2), n)
    rewards = np.full((rows, 2), paid)
    sums = Sums(np.arange(rows), decisions, rewards, rewards * STEPS, rewards * STEPS**2)
    objective = Objective(1.0, reward_type="continuous", low=-1.0, high=3.0, window_s=WINDOW_S, feedback="conversions")
    late = world((0.1, 0.1), 500)

    found = assess(
        question(late, sums=sums, objective=objective, law=None, open_block=50, blocks_closed=50, age_s=50_000.0)
    )

    assert found.rate == pytest.approx([0.3, 0.3], abs=1e-3)


def test_amounts_that_come_late_are_believed_to_be_as_large_as_they_are() -> None:
    late = world((0.2, 0.3), 15_000)
    # Each conversion is worth 2 of 4.
    half = Sums(late.sums.blocks, late.decisions, late.rewards, late.rewards * STEPS // 2, late.rewards * STEPS**2 // 4)
    objective = Objective(1.0, reward_type="continuous", low=0.0, high=4.0, window_s=WINDOW_S, feedback="conversions")

    found = assess(question(late, sums=half, objective=objective))

    assert found.rate == pytest.approx([0.4, 0.6], abs=4 * 2.0 * np.sqrt(0.21 / 1200))
    assert found.leader == 1


def test_copies_of_a_model_share_their_late_rewards() -> None:
    late = world((0.05, 0.3), 30_000)
    arms = (ArmFacts("v1", 0.0), ArmFacts("v2", 0.0, group="two"))
    three = Sums(**_copied(late))
    delays = DelaySums(
        np.hstack([late.delay_ms, late.delay_ms[:, 1:]]), np.concatenate([late.bins, late.bins[:, 1:]], axis=1)
    )
    copies = (*arms, ArmFacts("v3", 0.01, group="two"))

    found = assess(question(late, arms=copies, sums=three, law=learn(three, delays, late.spans, WINDOW_S)))

    assert found.rate[1] == found.rate[2] == pytest.approx(0.3, abs=0.03)
    assert found.leader == 1


def _copied(late: LateWorld) -> dict[str, Any]:
    sums = late.sums
    tables = ("decisions", "rewards", "reward_q", "reward_q2")
    copies = {name: np.hstack([getattr(sums, name), getattr(sums, name)[:, 1:]]) for name in tables}
    return {"blocks": sums.blocks, **copies}


def test_always_on_forgets_conversions_beyond_its_memory() -> None:
    late = world((0.1, 0.2), 40_000)
    asked = question(late, policy=Policy(block_s=BLOCK_S, mode="always_on", memory_s=10_000.0))

    known = known_of(asked)

    # All that is remembered is younger than the window: weights go on, and nothing can be proved.
    assert len(known.believed.trials) == 10
    assert assess(asked).weights[1] > 0.9
    assert known.proof.trials.sum() == 0.0


def test_rolled_up_rows_keep_every_trial() -> None:
    blocks = 3000
    rng = np.random.default_rng(1)
    decisions = rng.integers(50, 100, (blocks, 2))
    rewards = rng.binomial(decisions, 0.1)
    sums = Sums(np.arange(blocks), decisions, rewards, rewards * STEPS, rewards * STEPS**2)
    late = world((0.1, 0.1), 500)
    asked = question(late, sums=sums, open_block=blocks - 1, blocks_closed=blocks - 1, age_s=blocks * BLOCK_S)

    known = known_of(asked)

    assert len(known.believed.trials) == len(known.proof.trials) == 750
    trials = asked.law.trials(sums, spans_of(asked))  # type: ignore[union-attr]  # there is a law
    assert known.believed.trials.sum(axis=0) == pytest.approx(trials.sum(axis=0))


Event = tuple[int, int, float, bool]


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 30), st.floats(0.0, WINDOW_S), st.booleans()),
        min_size=1,
        max_size=200,
    ),
    st.randoms(use_true_random=False),
    st.integers(0, 200),
)
def test_order_and_gateway_of_conversions_change_nothing(events: list[Event], shuffle: Any, cut: int) -> None:
    def cells(some: list[Event]) -> dict[tuple[int, int], dict[str, int]]:
        found: dict[tuple[int, int], dict[str, int]] = {}
        for arm, block, age_s, is_rewarded in some:
            cell = found.setdefault((arm, block), {})
            fields = {"decisions": 1}
            if is_rewarded:
                fields |= {"rewards": 1, "reward_q": STEPS, "reward_q2": STEPS**2, "delay_ms": int(age_s * 1e3)}
                fields[FIELDS[bin_of(age_s, WINDOW_S)]] = 1
            for name, number in fields.items():
                cell[name] = cell.get(name, 0) + number
        return found

    def answer(stored: dict[tuple[int, int], dict[str, int]]) -> tuple[list[float], list[float]]:
        sums, delays = Sums.from_cells(stored, 2), DelaySums.from_cells(stored, 2)
        spans = spans_on_grid(sums.blocks, block_s=BLOCK_S, open_block=30, open_share=1.0)
        law = learn(sums, delays, spans, WINDOW_S)
        asked = question(world((0.1, 0.1), 500), sums=sums, law=law, open_block=30, open_share=1.0, age_s=31_000.0)
        found = assess(asked)
        return found.weights.tolist(), found.evidence_log.tolist()

    mixed = list(events)
    shuffle.shuffle(mixed)
    one, other = cells(mixed[:cut]), cells(mixed[cut:])
    both = {
        key: {
            name: one.get(key, {}).get(name, 0) + other.get(key, {}).get(name, 0)
            for name in {*one.get(key, {}), *other.get(key, {})}
        }
        for key in {*one, *other}
    }

    assert answer(both) == answer(cells(events))


def test_the_law_is_learned_at_every_fifth_refresh_and_when_rewards_have_grown() -> None:
    late = world((0.1, 0.1), 10_000)
    cache = LawCache()
    reads: list[list[int]] = []

    def read(blocks: Sequence[int]) -> DelaySums:
        reads.append(list(blocks))
        return DelaySums(late.delay_ms[list(blocks)], late.bins[list(blocks)])

    laws = [cache.law_of(late.sums, late.spans, WINDOW_S, read) for _ in range(REFRESHES + 1)]
    assert len(reads) == 2
    assert laws[0] is laws[REFRESHES - 1] is not laws[REFRESHES]

    while late.rewards.sum() <= GROWTH * cache.rewards:
        late.send((200, 200), (0.1, 0.1), 500.0)
    assert cache.law_of(late.sums, late.spans, WINDOW_S, read) is not laws[-1]
    # Another window, or fewer rewards than before: another experiment's.
    before = len(reads)
    cache.law_of(late.sums, late.spans, 2 * WINDOW_S, read)
    assert len(reads) == before + 1
    few = world((0.1, 0.1), 5_000)
    cache.law_of(few.sums, few.spans, 2 * WINDOW_S, lambda _: few.delays)
    assert cache.rewards == few.rewards.sum()


def test_delays_of_old_blocks_are_read_once() -> None:
    late = world((0.1, 0.1), 60_000)
    cache = LawCache()
    reads: list[list[int]] = []

    def read(blocks: Sequence[int]) -> DelaySums:
        reads.append(list(blocks))
        return DelaySums(late.delay_ms[list(blocks)], late.bins[list(blocks)])

    first = cache.law_of(late.sums, late.spans, WINDOW_S, read)
    found = [cache.law_of(late.sums, late.spans, WINDOW_S, read) for _ in range(REFRESHES)][-1]

    # Of 60 blocks those that ended at least 40,000 s ago are closed.
    assert reads == [list(range(60)), list(range(20, 60))]
    assert found.limit == pytest.approx(first.limit, abs=1e-3)
    assert found.limit == pytest.approx(learn(late.sums, late.delays, late.spans, WINDOW_S, first).limit, abs=1e-12)
    # Blocks that are none of those known: all are read.
    shifted = replace(late.sums, blocks=late.sums.blocks + 1)
    cache.refreshes = REFRESHES
    cache.law_of(shifted, late.spans, WINDOW_S, lambda blocks: read([block - 1 for block in blocks]))
    assert reads[-1] == list(range(60))


def test_what_is_shown_of_the_delays_is_near_the_truth() -> None:
    late = world((0.3, 0.3), 30_000)

    found = delays_of(question(late))

    assert found is not None
    # The mean of an exponential of 5,000 s cut off at 20,000 s, and what of a constant stream has arrived.
    cut = np.exp(-WINDOW_S / 5000.0)
    assert found.mean_s[1] == pytest.approx(5000.0 - WINDOW_S * cut / (1.0 - cut), rel=0.05)
    assert found.mean_s[0] == pytest.approx(100.0, rel=0.05)
    wanted = late.rewards.sum(axis=0) / (0.3 * late.decisions.sum(axis=0)) / np.array([1.0, 1.0 - cut])
    assert found.arrived == pytest.approx(wanted, abs=0.03)
    assert found.is_limit.tolist() == [False, False]
    assert delays_of(question(late, law=None)) is None


def test_a_range_without_0_has_no_silence() -> None:
    with pytest.raises(ValueError, match=r"silence is 0: the range must hold it, got \[1.0, 2.0\]"):
        Objective(1.0, reward_type="continuous", low=1.0, high=2.0, feedback="conversions")
    assert Objective(1.0, reward_type="continuous", low=1.0, high=2.0).low == 1.0


def test_segments_wait_for_the_late_by_one_law() -> None:
    parts = [world((0.1, 0.15), 8_000, seed=seed) for seed in (1, 2)]
    whole = Sums(
        parts[0].sums.blocks,
        *(
            sum(getattr(part.sums, name) for part in parts)
            for name in ("decisions", "rewards", "reward_q", "reward_q2")
        ),
    )
    delays = DelaySums(parts[0].delay_ms + parts[1].delay_ms, parts[0].bins + parts[1].bins)
    law = learn(whole, delays, parts[0].spans, WINDOW_S)

    found = assess(question(parts[0], sums=whole, law=law, segments=tuple(part.sums for part in parts)))

    assert len(found.segments) == 2
    # Naive, the slow arm is the worse one in both.
    for part, facts in zip(parts, found.segments, strict=True):
        assert part.rewards[:, 1].sum() < part.rewards[:, 0].sum()
        assert facts.leader == 1
    assert found.leader == 1
