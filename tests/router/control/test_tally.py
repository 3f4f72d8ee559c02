"""What is counted of an experiment's arms, from a store's cells: whole, by segment, and as cells change."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bandits.sums import cell_arm
from router.control.tally import Cells, Counted, Tally
from router.ledger import moment_cell
from router.store import FIELDS
from tests.router.control.world import counted

ARMS, SEGMENTS, BLOCKS = 4, 3, 5

keys = st.tuples(st.integers(0, SEGMENTS - 1), st.integers(0, ARMS - 1), st.integers(0, BLOCKS - 1))
# What one gateway counted: (segment, arm, block) to decisions and rewards.
counts = st.dictionaries(keys, st.tuples(st.integers(1, 50), st.integers(0, 50)), max_size=20)


def cells(*replicas: dict[tuple[int, int, int], tuple[int, int]]) -> dict[tuple[int, int], dict[str, int]]:
    """The store's cells after each replica has added its counts."""
    found: dict[tuple[int, int], dict[str, int]] = {}
    for replica in replicas:
        for (segment, arm, block), (decisions, rewards) in replica.items():
            cell = found.setdefault((cell_arm(arm, segment), block), dict.fromkeys(FIELDS, 0))
            cell["decisions"] += decisions
            cell["rewards"] += min(decisions, rewards)
    return found


def tables(of: Counted, name: str) -> list[NDArray[np.int64]]:
    """The field of each segment and of all traffic, a row for each block."""
    found = []
    for table in (*(of.of_segment(name, segment) for segment in range(of.segments)), of.of(name)):
        whole = np.zeros((BLOCKS, ARMS), np.int64)
        whole[of.blocks] = table
        found.append(whole)
    return found


@given(counts, counts)
def test_replicas_merge_by_adding_segment_by_segment(one: Any, other: Any) -> None:
    both, first, second = (counted(some, ARMS, SEGMENTS) for some in (cells(one, other), cells(one), cells(other)))

    for name in ("decisions", "rewards"):
        merged = tables(both, name)
        assert (np.stack(merged) == np.stack(tables(first, name)) + np.stack(tables(second, name))).all()
        assert (np.sum(merged[:-1], axis=0) == merged[-1]).all()


@given(counts)
def test_an_arm_more_leaves_the_others_statistics_alone(of: Any) -> None:
    known = {key: value for key, value in of.items() if key[1] < ARMS - 1}

    before, after = (counted(cells(some), ARMS, SEGMENTS) for some in (known, of))

    for old, new in zip(tables(before, "decisions"), tables(after, "decisions"), strict=True):
        assert (old[:, :-1] == new[:, :-1]).all()
        assert not old[:, -1].any()


changes = st.dictionaries(
    st.tuples(
        st.sampled_from([cell_arm(arm, segment) for arm in range(2) for segment in range(3)]), st.integers(-3, 9)
    ),
    st.dictionaries(st.sampled_from(FIELDS), st.integers(0, 2**62), max_size=6),
    max_size=8,
)


@given(st.lists(changes, max_size=8), st.sampled_from([0, 2, 3]))
def test_cells_taken_as_they_change_are_those_taken_at_once(steps: list[Cells], segments: int) -> None:
    kept, all_cells = Tally(), dict[tuple[int, int], Mapping[str, int]]()
    for changed in steps:
        kept.take(changed)
        all_cells |= changed
        after, fresh = kept.counted(2, segments), counted(all_cells, 2, segments)

        assert after.blocks.tolist() == fresh.blocks.tolist()
        assert (after.values == fresh.values).all()
        assert after.moments == fresh.moments
        for segment in (None, *range(max(1, segments))):
            assert after.totals(FIELDS, segment) == fresh.totals(FIELDS, segment)


@given(st.lists(changes, min_size=1, max_size=3))
def test_totals_are_exact(steps: list[Cells]) -> None:
    all_cells = {key: cell for changed in steps for key, cell in changed.items()}

    found = counted(all_cells, 2, 3).totals(FIELDS)

    for arm, total in enumerate(found):
        own = [cell for (number, block), cell in all_cells.items() if number % 256 == arm and block >= 0]
        assert total == {name: sum(cell.get(name, 0) for cell in own) for name in FIELDS}


def test_cells_of_other_segments_are_left_out() -> None:
    found = counted({(0, 1): {"rows": 1}, (cell_arm(7, 1), 1): {"rows": 2}}, 2, 0)

    assert found.of("rows").tolist() == [[1, 0]]


@pytest.mark.parametrize("arm", [2, -1])
def test_arm_that_is_none_is_refused(arm: int) -> None:
    with pytest.raises(ValueError, match=rf"an arm's number must be in 0\.\.1, got {arm}"):
        counted({(arm, 1): {"rows": 1}}, 2)


def test_moments_are_those_of_the_arm() -> None:
    _, *where = moment_cell(0, 1, 2)
    found = counted({(where[0], where[1]): {"log_moment": 5}}, 2)

    assert (found.moment(1, 2), found.moment(0, 2)) == (5, 0)
    assert found.blocks.size == 0
