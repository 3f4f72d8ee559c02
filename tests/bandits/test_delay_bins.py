from hypothesis import example, given
from hypothesis import strategies as st

from bandits.delay_bins import BINS, ENDS, FIELDS, bin_of


def test_there_is_a_field_for_each_bin_and_the_last_ends_at_the_window() -> None:
    assert FIELDS[0] == "delay_bin_00"
    assert FIELDS[-1] == "delay_bin_23"
    assert len(set(FIELDS)) == len(ENDS) == BINS
    assert ENDS[-1] == 1.0
    assert list(ENDS) == sorted(ENDS)


@given(st.floats(0.0, 1.0), st.floats(1e-3, 1e9))
@example(0.0, 1800.0)
@example(1.0, 1800.0)
def test_the_bin_holds_the_age(share: float, window_s: float) -> None:
    age_s = share * window_s
    number = bin_of(age_s, window_s)

    assert age_s / window_s <= ENDS[number]
    assert number == 0 or age_s / window_s > ENDS[number - 1]


def test_an_end_belongs_to_its_bin() -> None:
    assert [bin_of(end * 1024.0, 1024.0) for end in ENDS] == list(range(BINS))


def test_clocks_that_differ_and_a_window_of_nothing_are_counted_somewhere() -> None:
    assert bin_of(-3.0, 60.0) == 0
    assert bin_of(61.0, 60.0) == BINS - 1
    assert bin_of(0.0, 0.0) == 0
    assert bin_of(0.1, 0.0) == BINS - 1
