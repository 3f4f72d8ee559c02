import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandits.weights import PARTS, capped, choose, cumulative, floored, to_parts

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
