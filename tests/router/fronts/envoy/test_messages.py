"""gRPC as HTTP/2 carries it: what is read and written by hand here, held against the specification and grpc itself."""

import gzip
import zlib
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.fronts.envoy.messages import (
    check_length,
    framed,
    inflated,
    is_compressed,
    message_of,
    read_timeout,
    status_headers,
)
from serving.errors import InternalError, InvalidArgument, MessageTooLarge, ModelNotFound, Unimplemented

ZEROS = bytes(1_000_000)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(b"1H", 3600), (b"2M", 120), (b"30S", 30), (b"1500m", 1.5), (b"99999999u", 99.999999), (b"0n", 0)],
)
def test_timeout_is_digits_and_a_unit(text: bytes, seconds: float) -> None:
    assert read_timeout(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", [b"", b"5", b"S", b"-1S", b"1.5S", b"123456789S", b"1h", b" 1S", b"\xb2S"])
def test_other_timeouts_are_refused(text: bytes) -> None:
    with pytest.raises(InvalidArgument, match="grpc-timeout must be"):
        read_timeout(text)


@given(st.binary(max_size=100))
def test_message_is_what_was_framed(message: bytes) -> None:
    assert message_of(framed(message)) == message
    assert not is_compressed(framed(message))


@pytest.mark.parametrize("body", [b"", b"\0\0\0", framed(b"ab")[:-1], framed(b"ab") + b"c", framed(b"a") * 2])
def test_body_that_is_not_one_message_is_refused(body: bytes) -> None:
    with pytest.raises(InternalError, match="a unary call has one message"):
        message_of(body)


@pytest.mark.parametrize(
    ("received", "is_refused"),
    [
        (b"", False),
        (framed(bytes(10)), False),
        # Its prefix alone says so.
        (framed(bytes(11))[:5], True),
        # It says something else, and goes on.
        (framed(b"") + bytes(11), True),
    ],
)
def test_too_large_is_known_from_the_first_bytes(received: bytes, is_refused: bool) -> None:
    if is_refused:
        with pytest.raises(MessageTooLarge, match=r"larger than max \(11 vs\. 10\)"):
            check_length(received, 10)
    else:
        check_length(received, 10)


def test_compressed_message_is_inflated() -> None:
    assert inflated(gzip.compress(b"message"), b"gzip", 7) == b"message"
    assert inflated(zlib.compress(b"message"), b"deflate", 7) == b"message"


def test_what_inflates_beyond_the_bound_is_refused() -> None:
    with pytest.raises(MessageTooLarge):
        inflated(gzip.compress(ZEROS), b"gzip", len(ZEROS) - 1)

    assert inflated(gzip.compress(ZEROS), b"gzip", len(ZEROS)) == ZEROS


@pytest.mark.parametrize("message", [b"", b"no gzip", gzip.compress(ZEROS)[:-1]])
def test_what_can_not_be_inflated_is_refused(message: bytes) -> None:
    with pytest.raises(InternalError, match="can't be inflated"):
        inflated(message, b"gzip", 2 * len(ZEROS))


def test_unknown_encoding_is_refused_with_those_known() -> None:
    with pytest.raises(Unimplemented, match="known are identity,deflate,gzip"):
        inflated(b"x", b"snappy", 10)


@given(st.text(max_size=200))
def test_words_of_an_error_survive_the_headers(words: str) -> None:
    status, (name, written) = status_headers(ModelNotFound(words))

    assert status == (b"grpc-status", b"5")
    assert name == b"grpc-message"
    assert all(0x20 <= byte <= 0x7E for byte in written)
    assert unquote_to_bytes(written) == words.encode(errors="replace")


def test_long_words_are_cut_as_tf_serving_cuts_them() -> None:
    (_, (_, written)) = status_headers(ModelNotFound("é" * 1000))

    assert unquote_to_bytes(written).decode() == "é" * 512 + "...TRUNCATED"
