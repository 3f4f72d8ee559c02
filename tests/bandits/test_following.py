import numpy as np
import pytest

from bandits.following import OwnGate, follow

ALL = np.ones(3, np.bool_)


def gate(leader: int, refuted: tuple[int, ...] = (), *, excludes: bool = False, doubts: bool = False) -> OwnGate:
    return OwnGate(leader, np.isin(np.arange(3), refuted), excludes, doubts)


def test_an_unconfirmed_segment_follows_the_winner() -> None:
    found = follow(2, [gate(1), gate(2, (0,))], ALL)

    assert found.serves == (2, 2)
    assert found.needed.tolist() == [False, False, True]
    assert found.is_settled


def test_a_confirmed_segment_keeps_its_own_leader() -> None:
    found = follow(2, [gate(1, (0, 2)), gate(0)], ALL)

    assert found.serves == (1, 2)
    assert found.needed.tolist() == [False, True, True]


@pytest.mark.parametrize("why", ["excludes", "doubts"])
def test_a_segment_that_knows_better_goes_on_with_what_it_has_not_refuted(why: str) -> None:
    found = follow(2, [gate(1, (0,), excludes=why == "excludes", doubts=why == "doubts"), gate(2)], ALL)

    assert found.serves == (None, 2)
    assert found.needed.tolist() == [False, True, True]
    assert not found.is_settled


def test_without_a_winner_nothing_is_settled_and_all_live_arms_are_needed() -> None:
    found = follow(None, [gate(1, (0, 2)), gate(0)], np.array([True, True, False]))

    assert found.serves == (None, None)
    assert found.needed.tolist() == [True, True, False]


def test_segments_that_are_all_confirmed_need_no_winner() -> None:
    found = follow(None, [gate(1, (0, 2)), gate(0, (1, 2))], ALL)

    assert found.serves == (1, 0)
    assert found.needed.tolist() == [True, True, False]


def test_arms_that_are_not_live_need_no_refuting() -> None:
    found = follow(None, [gate(1, (0,))], np.array([True, True, False]))

    assert found.serves == (1,)


def test_the_last_live_arm_is_served_without_evidence() -> None:
    found = follow(None, [gate(0), gate(0)], np.array([True, False, False]))

    assert found.serves == (0, 0)


def test_a_leader_that_is_not_live_any_more_is_still_named() -> None:
    # No live arm at all: every claim is refuted vacuously, and the caller serves control.
    assert follow(1, [gate(1)], np.zeros(3, np.bool_)).serves == (1,)
