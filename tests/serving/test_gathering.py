"""How long batches gather company: by how much of the time the process's thread wants a processor."""

import pytest

from serving.gathering import Gathering


def waits(gathering: Gathering, shares: list[float], *, start_s: float = 0.0) -> list[float]:
    """What it says after each quarter of a second in which the thread wanted this share of it."""
    wanted_s, found = start_s, []
    for number, share in enumerate(shares):
        wanted_s += 0.25 * share
        found.append(gathering.heard(wanted_s, 100.0 + 0.25 * number))
    return found


def test_nothing_is_kept_while_there_is_time_to_spare() -> None:
    assert waits(Gathering(), [0.5, 0.7, 0.85, 0.85]) == [0.0] * 4


def test_the_wait_grows_while_the_thread_has_no_time_and_is_bounded() -> None:
    assert waits(Gathering(), [0.0, 0.95, 0.95, 1.0, 1.0]) == [0.0, 0.002, 0.008, 0.008, 0.008]


def test_the_wait_stays_in_between_and_shrinks_to_nothing_when_it_is_calm() -> None:
    found = waits(Gathering(), [0.0, 1.0, 1.0, 0.8, 0.8, 0.7, 0.7, 0.7, 0.7])

    assert found == [0.0, 0.002, 0.008, 0.008, 0.008, 0.004, 0.002, 0.0, 0.0]


def test_what_the_thread_did_before_it_was_looked_at_counts_for_nothing() -> None:
    assert waits(Gathering(), [0.1, 0.1], start_s=1e6) == [0.0, 0.0]


@pytest.mark.parametrize("passed_s", [0.0, -1.0])
def test_a_clock_that_stands_still_changes_nothing(passed_s: float) -> None:
    gathering = Gathering()
    gathering.heard(1.0, 100.0)

    assert gathering.heard(2.0, 100.0 + passed_s) == 0.0
