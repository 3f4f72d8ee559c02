"""Bars and densities are drawn to scale, and what is not known is not drawn."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.drawn import ENDS, Axis, axis_of, bar, density

HEIGHTS = " ▁▂▃▄▅▆▇█"


def arm(*ends: float | None) -> dict[str, float | None]:
    return dict(zip(ENDS, ends, strict=True))


def heights(text: str) -> list[int]:
    return [HEIGHTS.index(char) for char in text]


@pytest.mark.parametrize(
    ("share", "drawn"),
    [(0.0, ""), (0.25, "██▌"), (0.5, "█████"), (0.9875, "█████████▉"), (1.0, "█" * 10), (7, "█" * 10)],
)
def test_bar_is_as_long_as_the_share(share: float, drawn: str) -> None:
    assert bar(share, 10) == drawn


@pytest.mark.parametrize("share", [None, "0.5", True])
def test_share_that_is_no_number_has_no_bar(share: object) -> None:
    assert bar(share, 10) == ""


def test_axis_holds_all_arms_with_room_at_both_ends() -> None:
    axis = axis_of([arm(1.0, 2.0, 3.0), arm(0.0, 1.0, 2.0), arm(None, None, None)], 10)

    assert axis is not None
    assert axis.cells == 10
    assert [axis.low, axis.high] == pytest.approx([-0.24, 3.24])


@pytest.mark.parametrize("arms", [[], [arm(None, 1.0, 2.0)], [arm(1.0, 1.0, 1.0)]])
def test_without_an_interval_there_is_no_axis(arms: list[dict[str, float | None]]) -> None:
    assert axis_of(arms, 10) is None


def test_axis_without_width_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a width"):
        Axis(1.0, 1.0, 10)


def test_density_is_highest_in_the_middle_and_gone_beyond_the_ends() -> None:
    # 95 % within cells 4 to 7 of 12, evenly to both sides.
    found = heights(density(arm(4.0, 6.0, 8.0), Axis(0.0, 12.0, 12)))

    assert found == found[::-1]
    assert found[5] == found[6] == 8
    assert found[:3] == [0, 0, 0]
    assert found[3] < found[4] < found[5]


def test_density_leans_to_the_side_of_the_longer_end() -> None:
    found = heights(density(arm(5.0, 6.0, 10.0), Axis(0.0, 12.0, 12)))

    assert sum(found[6:]) > sum(found[:6])


def test_arm_that_is_known_for_certain_is_one_cell() -> None:
    assert density(arm(6.5, 6.5, 6.5), Axis(0.0, 12.0, 12)) == " " * 6 + "█" + " " * 5


def test_arm_that_is_not_known_is_not_drawn() -> None:
    assert density(arm(None, None, None), Axis(0.0, 1.0, 4)) == ""


@given(st.tuples(*[st.floats(-1e3, 1e3)] * 3), st.integers(1, 60))
def test_density_fills_its_cells_and_has_a_peak(ends: tuple[float, float, float], cells: int) -> None:
    one = arm(*sorted(ends))
    axis = axis_of([one], cells)
    if axis is None or math.isclose(axis.low, axis.high, rel_tol=1e-9):
        return

    found = heights(density(one, axis))

    assert len(found) == cells
    assert max(found) == 8
