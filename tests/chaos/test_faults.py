"""What each fault does to bytes: without sockets, by its script alone."""

import random

from load.chaos.faults import (
    Blackhole,
    Close,
    Cut,
    Delay,
    Garbage,
    Late,
    Pause,
    Reset,
    Send,
    Sometimes,
    Through,
    Trickle,
)

PIECE = b"+OK\r\n+OK\r\n"


def test_nothing_is_done_to_what_goes_through() -> None:
    assert Through().steps(PIECE, 0) == [Send(PIECE)]


def test_delay_comes_before_the_piece_and_within_its_bounds() -> None:
    pause, sent = Delay(random.Random(1), 0.05, 0.5).steps(PIECE, 0)

    assert isinstance(pause, Pause)
    assert 0.05 <= pause.pause_s <= 0.5
    assert sent == Send(PIECE)


def test_cut_ends_the_connection_in_the_middle_of_a_piece() -> None:
    assert Cut().steps(PIECE, 100) == [Send(b"+OK\r\n"), Close()]
    assert Cut(is_reset=True).steps(PIECE, 0) == [Send(b"+OK\r\n"), Reset()]


def test_cut_after_so_many_bytes_lets_all_before_them_pass() -> None:
    cut = Cut(after_bytes=12)

    assert cut.steps(PIECE, 0) == [Send(PIECE)]
    assert cut.steps(PIECE, 10) == [Send(b"+O"), Close()]
    assert cut.steps(PIECE, 12) == [Close()]
    assert cut.steps(PIECE, 99) == [Close()]


def test_blackhole_swallows_and_ends_nothing() -> None:
    assert Blackhole().steps(PIECE, 0) == []


def test_trickle_sends_all_of_it_bit_by_bit() -> None:
    steps = Trickle(4, 0.01).steps(PIECE, 0)

    assert b"".join(step.piece for step in steps if isinstance(step, Send)) == PIECE
    assert steps[1::2] == [Pause(0.01)] * 3
    assert max(len(step.piece) for step in steps if isinstance(step, Send)) == 4


def test_garbage_takes_the_place_of_what_was_sent() -> None:
    assert Garbage(b"?").steps(PIECE, 0) == [Send(b"?"), Close()]


def test_sometimes_is_as_often_as_it_says() -> None:
    fault = Sometimes(random.Random(2), 0.25, Blackhole())
    met = sum(fault.steps(PIECE, 0) == [] for _ in range(4000))

    # Four standard errors of a binomial.
    assert abs(met - 1000) < 4 * (4000 * 0.25 * 0.75) ** 0.5


def test_late_holds_back_what_is_meant_and_nothing_else() -> None:
    late = Late(b"+OK", 6.0)

    assert late.steps(PIECE, 0) == [Pause(6.0), Send(PIECE)]
    assert late.steps(b":1\r\n", 0) == [Send(b":1\r\n")]
    assert late.held == 1
