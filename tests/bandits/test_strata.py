import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandits.rules import Objective
from bandits.strata import Outcomes, Spans, in_window, merge, resolve, roll_up, spans_from, spans_on_grid
from bandits.sums import STEPS, Sums


def sums(cells: dict[tuple[int, int], tuple[int, int, int]], arms: int = 2) -> Sums:
    """Make sums from (arm, block): (decisions, rewards, successes)."""
    return Sums.from_cells(
        {
            key: {"decisions": n, "rewards": m, "reward_q": s * STEPS, "reward_q2": s * STEPS**2}
            for key, (n, m, s) in cells.items()
        },
        arms,
    )


def evenly(trials: list[list[float]]) -> Outcomes:
    table = np.array(trials, np.float64)
    share = table.sum(axis=1) / max(1.0, table.sum())
    return Outcomes(table, table / 2, table / 2, table / 10, share)


def test_explicit_feedback_is_pending_until_the_window_has_passed() -> None:
    some = sums({(0, 0): (10, 8, 4), (1, 0): (10, 10, 9), (0, 1): (5, 3, 1), (0, 2): (4, 0, 0)})
    objective = Objective(1.0, window_s=15.0)

    found = resolve(some, objective, spans_on_grid(some.blocks, block_s=10.0, open_block=2, open_share=0.5))

    # Block 0 ended 15 s ago: its two missing rewards count no more. Block 1 ended 5 s ago.
    assert found.trials.tolist() == [[8, 10], [3, 0], [0, 0]]
    assert found.pending.tolist() == [[0, 0], [2, 0], [4, 0]]
    assert found.total.tolist() == [[4, 9], [1, 0], [0, 0]]
    assert found.share.tolist() == pytest.approx([18 / 21, 3 / 21, 0])


def test_conversions_are_known_once_the_youngest_decision_is_past_the_window() -> None:
    some = sums({(0, 0): (10, 2, 2), (0, 1): (10, 1, 1)})
    objective = Objective(1.0, window_s=15.0, feedback="conversions")

    found = resolve(some, objective, spans_on_grid(some.blocks, block_s=10.0, open_block=2, open_share=0.5))

    assert found.trials[:, 0].tolist() == [10, 0]
    assert found.total[:, 0].tolist() == [2, 0]
    assert found.pending[:, 0].tolist() == [0, 10]


def test_rewards_that_run_ahead_prove_their_decisions() -> None:
    old = Spans(np.array([2000.0]), np.array([1800.0]))

    found = resolve(sums({(0, 0): (3, 5, 5)}), Objective(1.0, feedback="conversions"), old)

    assert found.trials[0, 0] == 5


def test_the_cycle_window_is_exactly_one_cycle() -> None:
    outcomes = evenly([[50.0, 50.0]] * 6)

    spans = spans_on_grid(np.arange(6), block_s=10.0, open_block=5, open_share=0.25)
    found = in_window(outcomes, spans, 30.0)

    # A quarter of the open block, two whole ones, and three quarters of the oldest: the open block's traffic is its own.
    assert found.share.tolist() == pytest.approx([0, 0, 0.75 / 3.75, 1 / 3.75, 1 / 3.75, 1 / 3.75])
    assert in_window(outcomes, spans, None) is outcomes


def test_rows_that_were_cut_short_end_where_the_next_begins() -> None:
    found = spans_from(np.array([0.0, 4.0, 4.0, 10.0]), 12.0)

    assert found.began.tolist() == [12.0, 8.0, 8.0, 2.0]
    assert found.ended.tolist() == [8.0, 2.0, 2.0, 0.0]
    # The last 9 s: a quarter of the first row, and all of the others.
    shares = in_window(evenly([[40.0, 0.0], [10.0, 0.0], [10.0, 0.0], [10.0, 0.0]]), found, 9.0).share
    assert shares == pytest.approx(np.array([10, 10, 10, 10]) / 40)


def test_a_grid_and_its_starts_are_the_same_spans() -> None:
    grid = spans_on_grid(np.arange(4), block_s=5.0, open_block=3, open_share=0.4)
    starts = spans_from(np.array([0.0, 5.0, 10.0, 15.0]), 17.0)

    assert (grid.began == starts.began).all()
    assert (grid.ended == starts.ended).all()


def test_a_clock_that_jumps_back_makes_no_negative_ages() -> None:
    found = spans_from(np.array([0.0, 50.0]), 20.0)

    assert (found.began.tolist(), found.ended.tolist()) == ([20.0, 0.0], [0.0, 0.0])


def test_without_traffic_in_the_window_all_rows_count() -> None:
    outcomes = evenly([[50.0, 50.0], [0.0, 0.0]])

    spans = spans_on_grid(np.array([0, 90]), block_s=1.0, open_block=90, open_share=0.5)
    found = in_window(outcomes, spans, 4.0)

    assert found.share.tolist() == [1.0, 0.0]


def test_small_rows_are_merged_until_twenty_per_live_arm() -> None:
    outcomes = evenly([[10.0, 5.0], [20.0, 5.0], [39.0, 1.0], [3.0, 3.0]])

    found = merge(outcomes, live=2)

    # 15 + 25 = 40; 40 alone; the last 6 are too few and join their neighbours.
    assert found.trials.tolist() == [[30, 10], [42, 4]]
    assert found.share.sum() == pytest.approx(1.0)


def test_nothing_merges_to_one_empty_row() -> None:
    nothing = np.zeros((0, 3))

    found = merge(Outcomes(nothing, nothing, nothing, nothing, np.zeros(0)), live=3)

    assert found.trials.tolist() == [[0, 0, 0]]
    assert found.share.tolist() == [1.0]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=40),
    st.integers(1, 3),
    st.integers(2, 8),
)
def test_joining_loses_nothing(rows: list[tuple[int, int, int]], live: int, rows_max: int) -> None:
    blocks = np.cumsum([step for step, _, _ in rows])
    outcomes = evenly([[float(n), float(m)] for _, n, m in rows])

    for joined in (merge(outcomes, live), roll_up(outcomes, blocks, rows_max)):
        for name in ("trials", "total", "square", "pending", "share"):
            assert getattr(joined, name).sum(axis=0) == pytest.approx(getattr(outcomes, name).sum(axis=0))
    least = merge(outcomes, live).trials.sum(axis=1).min()
    assert least >= 20 * live or len(merge(outcomes, live).trials) == 1
    assert len(roll_up(outcomes, blocks, rows_max).trials) <= max(rows_max, 1) or np.unique(blocks).size <= rows_max


def test_rolling_up_joins_neighbours_and_leaves_few_rows_alone() -> None:
    outcomes = evenly([[1.0, 0.0], [2.0, 0.0], [4.0, 0.0], [8.0, 0.0], [16.0, 0.0]])

    assert roll_up(outcomes, np.arange(5), 5) is outcomes
    # Blocks 0 and 1, 2 and 3, 4.
    assert roll_up(outcomes, np.arange(5), 4).trials[:, 0].tolist() == [3, 12, 16]
