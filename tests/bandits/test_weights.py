import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandits.weights import PARTS, capped, choose, cumulative, floored, race, to_parts, unfloored

Shares = st.lists(st.floats(0.0, 1e6) | st.sampled_from([0.0, 1e-300, 1e-12]), min_size=1, max_size=12)


@given(Shares.filter(lambda shares: sum(shares) > 0))
def test_parts_sum_to_two_to_the_31_exactly(shares: list[float]) -> None:
    parts = to_parts(shares)

    assert sum(parts) == PARTS == 2**31
    assert all(part >= 0 for part in parts)
    assert all(part == 0 for part, share in zip(parts, shares, strict=True) if share == 0)
    exact = np.array(shares) / sum(shares) * PARTS
    assert np.abs(exact - parts).max() <= 1.0 + 1e-6


def test_thirds_are_split_by_largest_remainder() -> None:
    assert to_parts([1.0, 1.0, 1.0]) == (715827883, 715827883, 715827882)


@pytest.mark.parametrize("shares", [[], [0.0, 0.0], [1.0, -0.1], [float("nan")], [float("inf"), 1.0]])
def test_shares_of_nothing_are_refused(shares: list[float]) -> None:
    with pytest.raises(ValueError, match="not all zero"):
        to_parts(shares)


def test_the_draw_finds_the_slice_that_holds_the_point() -> None:
    running = cumulative((0, 10, 0, PARTS - 10, 0))

    assert [choose(running, point) for point in (0, 9, 10, PARTS - 1)] == [1, 1, 3, 3]


@given(Shares.filter(lambda shares: sum(shares) > 0), st.integers(0, PARTS - 1))
def test_an_arm_without_parts_is_never_drawn(shares: list[float], point: int) -> None:
    parts = to_parts(shares)

    assert parts[choose(cumulative(parts), point)] > 0


@st.composite
def planned(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    arms = draw(st.integers(1, 8))
    weights = np.array(draw(st.lists(st.floats(0.0, 1.0), min_size=arms, max_size=arms)))
    is_live = np.array(draw(st.lists(st.booleans(), min_size=arms, max_size=arms)))
    caps = np.array(draw(st.lists(st.floats(0.05, 1.0), min_size=arms, max_size=arms)))
    return weights, is_live, caps, draw(st.floats(0.0, 0.5 / arms))


@given(planned())
def test_weights_respect_floor_and_caps(plan: tuple[np.ndarray, np.ndarray, np.ndarray, float]) -> None:
    weights, is_live, caps, floor = plan
    control = 0

    shares = floored(weights, is_live, floor)

    assert (shares[~is_live] == 0).all()
    if not is_live.any():
        return
    assert shares.sum() == pytest.approx(1.0)
    assert (shares[is_live] >= floor - 1e-12).all()
    held = capped(shares, caps, control)
    assert held.sum() == pytest.approx(1.0)
    within = held <= caps + 1e-9
    # Only control may exceed its cap, and only when the others are at theirs.
    assert within[1:].all()
    if not within[0]:
        others = (shares > 0) & (np.arange(shares.size) != control)
        assert held[others] == pytest.approx(caps[others])
    assert (held >= np.minimum(shares, caps) - 1e-9).all()


def test_excess_goes_to_the_others_in_proportion() -> None:
    assert capped(np.array([0.7, 0.2, 0.1]), np.array([0.4, 1.0, 1.0]), 0) == pytest.approx([0.4, 0.4, 0.2])
    assert capped(np.array([0.7, 0.2, 0.1]), np.array([0.4, 0.3, 1.0]), 0) == pytest.approx([0.4, 0.3, 0.3])


def test_when_all_are_capped_control_takes_the_rest() -> None:
    assert capped(np.array([0.5, 0.5]), np.array([0.2, 0.3]), 1) == pytest.approx([0.2, 0.8])


def test_without_any_belief_live_arms_share_equally() -> None:
    assert floored(np.zeros(3), np.array([True, False, True]), 0.01).tolist() == [0.5, 0.0, 0.5]


def test_a_floor_that_cannot_be_kept_is_an_equal_split() -> None:
    assert floored(np.array([1.0, 0.0]), np.array([True, True]), 0.9).tolist() == [0.5, 0.5]


Splits = st.lists(st.integers(0, 1000), min_size=2, max_size=6).filter(lambda parts: sum(parts) > 0)
UNITS = 4_000


def uniforms(seed: int, arms: int, units: int = UNITS) -> list[list[float]]:
    """The numbers of so many units; those of an arm do not depend on how many arms there are."""
    rng = np.random.default_rng(seed)
    found: list[list[float]] = np.array([rng.uniform(size=units) for _ in range(arms)]).T.tolist()
    return found


def distance(before: list[int], after: list[int]) -> float:
    """The total variation distance of two splits."""
    one, other = (np.array(parts) / sum(parts) for parts in (before, after))
    return float(np.abs(one - other).sum() / 2)


@given(st.integers(0, 2**32), Splits)
@settings(deadline=None, max_examples=30)
def test_over_units_each_arm_wins_with_its_share(seed: int, parts: list[int]) -> None:
    wins = np.bincount([race(unit, parts) for unit in uniforms(seed, len(parts))], minlength=len(parts)) / UNITS

    for won, part in zip(wins, parts, strict=True):
        share = part / sum(parts)
        # Five standard errors: a few hundred arms are looked at.
        assert abs(won - share) <= 5 * math.sqrt(share * (1 - share) / UNITS)


@given(st.integers(0, 2**32), st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 1000)), min_size=2, max_size=6))
@settings(deadline=None, max_examples=60)
def test_unit_moves_only_to_an_arm_that_has_grown_more(seed: int, both: list[tuple[int, int]]) -> None:
    before, after = ([pair[place] for pair in both] for place in (0, 1))
    if not sum(after):
        after[0] = 1
    for unit in uniforms(seed, len(both), 200):
        old, new = race(unit, before), race(unit, after)
        assert old == new or after[new] * before[old] > after[old] * before[new]


def moved_in_all(before: list[int], after: list[int]) -> float:
    """The share of all units that move, in closed form: arm k stays with 1 / sum_j max(b_j / b_k, a_j / a_k)."""
    one, other = (np.array(parts, np.float64) for parts in (before, after))
    stays = 0.0
    for k in range(one.size):
        if one[k] and other[k]:
            stays += 1 / np.maximum(one / one[k], other / other[k]).sum()
    return 1 - float(stays)


@given(Splits, st.data())
def test_moved_share_is_at_most_twice_what_has_to_move(before: list[int], data: st.DataObject) -> None:
    after = data.draw(st.lists(st.integers(0, 1000), min_size=len(before), max_size=len(before)).filter(any))
    moved, least = moved_in_all(before, after), distance(before, after)

    assert least - 1e-9 <= moved <= 2 * least / (1 + least) + 1e-9
    if len(before) == 2:
        assert moved == pytest.approx(least, abs=1e-9)


@given(Splits, st.floats(0.1, 10.0), st.integers(0, 5))
def test_when_one_arm_alone_changes_nobody_else_moves(parts: list[int], factor: float, arm: int) -> None:
    changed = [1000 * part for part in parts]
    arm %= len(parts)
    changed[arm] = round(changed[arm] * factor)
    if sum(changed):
        assert moved_in_all(parts, changed) == pytest.approx(distance(parts, changed), abs=1e-9)


def test_closed_form_of_what_moves_is_what_moves() -> None:
    before, after = [500, 300, 200], [100, 700, 200]
    moved = np.mean([race(unit, before) != race(unit, after) for unit in uniforms(5, 3, 50_000)])

    assert moved == pytest.approx(moved_in_all(before, after), abs=4 * math.sqrt(0.25 / 50_000))


def test_arm_without_parts_never_wins() -> None:
    assert race([1e-300, 0.5, 1.0], [0, 3, 0]) == 1
    assert race([1.0, 1.0, 1.0], [0, 1, 1]) == 1


@given(Shares.filter(lambda shares: 2 <= len(shares) <= 6), st.floats(0.0, 0.1), st.floats(0.01, 1.0))
def test_caps_before_the_floor_hold_after_it(shares: list[float], floor: float, cap: float) -> None:
    live, caps = np.ones(len(shares), np.bool_), np.full(len(shares), max(cap, floor))
    most = unfloored(caps, live, floor)
    allowed = np.minimum(np.full(len(shares), 1.0), most)

    raised = allowed * (1 - floor * len(shares)) + floor
    assert (raised <= caps + 1e-12).all()
