"""A price that can't be right changes nothing, and says so."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.control.quotes import (
    FEED_BYTES_MAX,
    Quote,
    accepted,
    failed,
    is_stale,
    led,
    price_in,
    remembered,
    told,
    warning,
)

KEY = "aws/us-east-1/g4dn"
HOUR_S = 3600.0


def test_price_is_read_at_its_key() -> None:
    assert price_in(b'{"aws/us-east-1/g4dn": 0.526, "other": "not a price"}', KEY) == 0.526


@pytest.mark.parametrize(
    ("raw", "wrong"),
    [
        (b"", "no JSON object"),
        (b"<html>", "no JSON object"),
        (b"[0.5]", "no JSON object"),
        (b"\xff\xfe", "no JSON object"),
        (b"{}", "no key"),
        (b'{"aws/us-east-1/g4dn": "0.5"}', "must be a number of dollars an hour, got str"),
        (b'{"aws/us-east-1/g4dn": true}', "got bool"),
        (b'{"aws/us-east-1/g4dn": null}', "got NoneType"),
        (b'{"aws/us-east-1/g4dn": -1}', "must be in 0..100000 dollars an hour, got -1"),
        (b'{"aws/us-east-1/g4dn": 1e300}', "must be in 0..100000"),
        (b'{"aws/us-east-1/g4dn": NaN}', "no JSON object"),
        (b" " * (FEED_BYTES_MAX + 1), "more than"),
    ],
)
def test_garbage_is_refused_in_words(raw: bytes, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        price_in(raw, KEY)


@given(st.binary(max_size=200))
def test_no_bytes_make_anything_but_a_price_or_a_refusal(raw: bytes) -> None:
    try:
        price = price_in(raw, KEY)
    except ValueError:
        return
    assert 0.0 <= price < math.inf


def test_unreadable_feed_keeps_the_price_until_it_is_stale() -> None:
    quote = failed(told(Quote(), 1.0, 100.0), "the feed answered 503")

    assert quote.usd_per_hour == 1.0
    assert warning("a", quote, 100.0 + HOUR_S, HOUR_S) == ""
    words = warning("a", quote, 101.0 + HOUR_S, HOUR_S)
    assert words == "the price of backend a is stale: not read for 3601 s: the feed answered 503"
    assert warning("a", told(quote, 1.0, 5_000.0), 5_001.0, HOUR_S) == ""


def test_step_beyond_three_times_waits_for_an_operator() -> None:
    quote = told(told(Quote(), 1.0, 0.0), 3.01, 1.0)

    assert (quote.usd_per_hour, quote.waiting_usd_per_hour, quote.read_at) == (1.0, 3.01, 1.0)
    words = warning("a", quote, 1.0, HOUR_S)
    assert words == "the price of backend a waits for an operator: from $1 to $3.01 an hour is a step beyond 3x"
    assert accepted(quote, 3.01) == (Quote(3.01, 1.0), True)
    assert told(quote, 1.1, 2.0) == Quote(1.1, 2.0)


@pytest.mark.parametrize(
    ("before", "after", "waits"), [(1, 3, 0), (3, 1, 0), (3.1, 1, 1), (0, 1, 1), (1, 0, 1), (0, 0, 0)]
)
def test_steps_are_as_far_down_as_up_and_nothing_is_near_to_nothing(before: float, after: float, waits: int) -> None:
    assert (told(Quote(before, 0.0), after, 1.0).waiting_usd_per_hour is not None) == bool(waits)


def test_price_from_before_a_restart_is_what_steps_are_measured_from() -> None:
    assert remembered(Quote(), 1.0) == Quote(1.0)
    assert is_stale(remembered(Quote(), 1.0), 0.0, HOUR_S)
    assert remembered(Quote(40.0, 5.0), 1.0) == Quote(1.0, 5.0, 40.0)
    assert remembered(Quote(1.2, 5.0), 1.0) == Quote(1.2, 5.0)


@pytest.mark.parametrize(
    ("quote", "word", "after", "is_heard"),
    [
        (Quote(1.0, 0.0), 5.0, Quote(1.0, 0.0), True),
        (Quote(1.0), 5.0, Quote(1.0), False),
        (Quote(1.0, 0.0, 5.0), 4.0, Quote(5.0, 0.0), True),
        (Quote(1.0, 0.0, 50.0), 5.0, Quote(1.0, 0.0, 50.0), True),
    ],
    ids=["nothing waits", "not read yet", "no step from the word", "a step from the word"],
)
def test_operator_s_word_covers_what_is_no_step_from_it(
    quote: Quote, word: float, after: Quote, is_heard: bool
) -> None:
    assert accepted(quote, word) == (after, is_heard)


def test_what_waits_is_the_leader_s_to_say_and_all_else_is_read() -> None:
    assert led(Quote(5.0, 1.0), 0.5, 5.0) == Quote(0.5, 1.0, 5.0)
    assert led(Quote(0.5, 1.0, 5.0), 5.0, None) == Quote(5.0, 1.0)
    assert led(Quote(0.6, 1.0), 0.5, None) == Quote(0.6, 1.0)


def test_unknown_price_is_said_with_its_reason() -> None:
    words = warning("a", failed(Quote(), "it has no key 'x'"), 0.0, HOUR_S)

    assert words == "the price of backend a is not known yet: it has no key 'x'"
