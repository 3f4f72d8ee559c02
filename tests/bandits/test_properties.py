"""What must hold of the learning whatever comes: order, replicas, arms that join, and looking again and again."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandits.assess import ArmFacts, Assessment, Question, assess
from bandits.rules import Objective, Policy, StopRule
from bandits.sums import STEPS, Sums, quantise

V = 1e-6
ARMS, BLOCKS = 3, 4
# A request as a gateway counts it: its arm, its block, and its reward, if there was one yet.
Request = tuple[int, int, float | None]
Cells = dict[tuple[int, int], Counter[str]]

requests = st.lists(
    st.tuples(st.integers(0, ARMS - 1), st.integers(0, BLOCKS - 1), st.none() | st.floats(0.0, 1.0)), max_size=60
)


def counted(of: Sequence[Request]) -> Cells:
    """One gateway's cells, each request added when it comes."""
    cells: Cells = {}
    for arm, block, reward in of:
        cell = cells.setdefault((arm, block), Counter())
        cell["decisions"] += 1
        if reward is not None:
            steps = quantise(reward, 0.0, 1.0)
            cell.update(rewards=1, reward_q=steps, reward_q2=steps**2)
    return cells


def merged(replicas: Sequence[Cells]) -> Cells:
    """What a store holds once all of them have reported."""
    cells: Cells = {}
    for replica in replicas:
        for key, fields in replica.items():
            cells.setdefault(key, Counter()).update(fields)
    return cells


def tables(sums: Sums) -> list[list[list[int]]]:
    return [field.tolist() for field in (sums.decisions, sums.rewards, sums.reward_q, sums.reward_q2)]


def question(sums: Sums, arms: int, **changes: object) -> Question:
    rows = sums.blocks.size
    facts = {
        "arms": tuple(ArmFacts(f"v{number + 1}", 0.0) for number in range(arms)),
        "control": 0,
        "sums": sums,
        "open_block": rows,
        "age_s": 2.0 * rows,
        "objective": Objective(V, window_s=10.0),
        "policy": Policy(block_s=2.0),
        "stop": StopRule(cycle_s=None),
        "blocks_closed": rows,
    }
    return Question(**(facts | changes))  # type: ignore[arg-type]  # its fields, as above


def numbers(found: Assessment) -> list[object]:
    return [found.weights.tolist(), found.evidence_log.tolist(), found.remaining_q95, found.leader, found.not_ready]


@settings(deadline=None, max_examples=50)
@given(st.data(), requests)
def test_the_order_of_requests_changes_no_integer_and_no_weight(drawn: st.DataObject, made: list[Request]) -> None:
    shuffled = drawn.draw(st.permutations(made))
    one, other = (Sums.from_cells(counted(some), ARMS, range(BLOCKS)) for some in (made, shuffled))

    assert tables(one) == tables(other)
    asked = {"objective": Objective(V, reward_type="continuous", window_s=10.0), "stop": StopRule(min_per_arm=1)}
    assert numbers(assess(question(one, ARMS, **asked))) == numbers(assess(question(other, ARMS, **asked)))


@settings(deadline=None, max_examples=50)
@given(st.data(), requests, st.integers(1, 5))
def test_merged_replicas_are_one_replica(drawn: st.DataObject, made: list[Request], replicas: int) -> None:
    where = drawn.draw(st.lists(st.integers(0, replicas - 1), min_size=len(made), max_size=len(made)))
    parts = [[one for one, place in zip(made, where, strict=True) if place == own] for own in range(replicas)]

    whole = Sums.from_cells(counted(made), ARMS, range(BLOCKS))
    assert tables(Sums.from_cells(merged([counted(part) for part in parts]), ARMS, range(BLOCKS))) == tables(whole)


def sums_of(trials: Sequence[Sequence[int]], successes: Sequence[Sequence[int]]) -> Sums:
    n, s = np.array(trials, np.int64), np.array(successes, np.int64)
    return Sums(np.arange(len(n)), n, n, s * STEPS, s * STEPS**2)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.sampled_from([0.05, 0.4, 0.95]), st.integers(1, 3))
def test_an_arm_that_joins_leaves_the_others_statistics_alone(seed: int, rate: float, more: int) -> None:
    rng = np.random.default_rng(seed)
    trials = rng.integers(100, 900, (6, 2))
    successes = rng.binomial(trials, rate)
    padding = [[0] * more] * 6
    before = assess(question(sums_of(trials.tolist(), successes.tolist()), 2))
    wider = sums_of(np.hstack([trials, padding]).tolist(), np.hstack([successes, padding]).tolist())
    after = assess(question(wider, 2 + more))

    assert after.rate[:2] == pytest.approx(before.rate, rel=1e-9)
    assert after.value_low[:2] == pytest.approx(before.value_low, rel=1e-9)
    assert after.value_high[:2] == pytest.approx(before.value_high, rel=1e-9)
    # Evidence is of a pair; only the bar rises with the number of challengers.
    if after.leader == before.leader:
        assert after.evidence_log[:2] == pytest.approx(before.evidence_log, abs=1e-6)
    assert after.evidence_bar_log == pytest.approx(math.log((1 + more) / 0.05))
    # Newcomers are believed to be like what is expected of any arm, and get their equal part.
    assert after.weights == pytest.approx([1 / (2 + more)] * (2 + more))


@pytest.mark.parametrize("rates", [(0.05, 0.05), (0.6, 0.6)])
def test_weights_that_follow_the_data_and_a_look_at_each_step_keep_the_promise(rates: tuple[float, ...]) -> None:
    # Equal arms, no margin: each refutation is an error. Thompson's weights are used, each look being a new block.
    rng, runs, looks, alpha = np.random.default_rng(29), 60, 25, 0.05
    stop = StopRule(cycle_s=None, margin=1e-6, delta=1e-6, alpha=alpha, min_per_arm=50)
    false = 0
    for _ in range(runs):
        trials, successes = np.zeros((0, 2), np.int64), np.zeros((0, 2), np.int64)
        weights, is_refuted = np.array([0.5, 0.5]), False
        for _ in range(looks):
            sent = rng.multinomial(200, weights)
            trials = np.vstack([trials, sent])
            successes = np.vstack([successes, rng.binomial(sent, rates)])
            found = assess(question(sums_of(trials.tolist(), successes.tolist()), 2, stop=stop))
            weights, is_refuted = found.weights, is_refuted or bool(found.refuted.any())
        false += is_refuted

    assert false / runs <= alpha + 4 * math.sqrt(alpha * (1 - alpha) / runs)
