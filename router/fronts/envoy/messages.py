"""gRPC as HTTP/2 carries it: deadlines, messages and their lengths, statuses in headers.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

import zlib
from typing import Final

from serving.errors import InternalError, InvalidArgument, MessageTooLarge, ServingError, Unimplemented

# A flag that says whether the message is compressed, and its length.
PREFIX_BYTES: Final = 5
# TF Serving cuts its words there, as serving.grpc_server does.
_WORDS_BYTES_MAX: Final = 1024
_UNITS_S: Final = {72: 3600.0, 77: 60.0, 83: 1.0, 109: 1e-3, 117: 1e-6, 110: 1e-9}  # H M S m u n
_TIMEOUT_DIGITS_MAX: Final = 8
# zlib knows both headers by itself with this much added.
_ANY_HEADER: Final = 32
ENCODINGS: Final = b"identity,deflate,gzip"
_COMPRESSED: Final = (b"gzip", b"deflate")

Headers = list[tuple[bytes, bytes]]


def read_timeout(text: bytes) -> float:
    """Read `grpc-timeout`; return seconds, or raise InvalidArgument."""
    digits = text[:-1]
    if not digits.isdigit() or len(digits) > _TIMEOUT_DIGITS_MAX or text[-1] not in _UNITS_S:
        raise InvalidArgument(f"grpc-timeout must be up to 8 digits and one of HMSmun, as 100m; got {text[:20]!a}")
    return int(digits) * _UNITS_S[text[-1]]


def framed(message: bytes) -> bytes:
    """Return a message as it is sent: not compressed, its length, its bytes."""
    return b"\0" + len(message).to_bytes(4) + message


def check_length(received: bytes | bytearray, bytes_max: int) -> None:
    """Raise MessageTooLarge once the prefix says so, or more has come than any message may have; nothing more is read."""
    length = len(received) - PREFIX_BYTES
    if length >= 0:
        length = max(length, int.from_bytes(received[1:PREFIX_BYTES]))
    if length > bytes_max:
        raise MessageTooLarge(f"Received message larger than max ({length} vs. {bytes_max})")


def is_compressed(body: bytes) -> bool:
    """Whether the one message of a request must be inflated."""
    return body[:1] == b"\1"


def message_of(body: bytes) -> bytes:
    """Return the one message of a request's body; ServingError where there is none, or more."""
    if len(body) < PREFIX_BYTES:
        raise InternalError(f"a unary call has one message; this one ended after {len(body)} bytes")
    length = int.from_bytes(body[1:PREFIX_BYTES])
    if length != len(body) - PREFIX_BYTES:
        raise InternalError(f"a unary call has one message; this one says {length} bytes, and {len(body) - 5} came")
    return body[PREFIX_BYTES:]


def inflated(message: bytes, encoding: bytes, bytes_max: int) -> bytes:
    """Undo gzip or deflate, up to a bound: a kilobyte can hold a gigabyte of zeros. ServingError."""
    if encoding not in _COMPRESSED:
        raise Unimplemented(f"grpc-encoding {encoding!a} is not known here; known are {ENCODINGS.decode()}")
    inflater = zlib.decompressobj(_ANY_HEADER + zlib.MAX_WBITS)
    try:
        whole = inflater.decompress(message, bytes_max + 1)
    except zlib.error as error:
        raise InternalError(f"the message can't be inflated: {error}") from error
    if len(whole) > bytes_max:
        raise MessageTooLarge(f"Received message larger than max (inflated, more than {bytes_max})")
    if not inflater.eof:
        raise InternalError("the message can't be inflated: it is cut short")
    return whole


def status_headers(error: ServingError) -> Headers:
    """Return an error as gRPC's status and words."""
    words = error.message.encode(errors="replace")
    if len(words) > _WORDS_BYTES_MAX:
        words = words[:_WORDS_BYTES_MAX].decode(errors="ignore").encode() + b"...TRUNCATED"
    return [(b"grpc-status", b"%d" % error.code.number), (b"grpc-message", _percent(words))]


def _percent(words: bytes) -> bytes:
    """Write what is not printable ASCII, and the percent sign itself, as %XX."""
    if all(0x20 <= byte <= 0x7E and byte != 0x25 for byte in words):
        return words
    return b"".join(bytes((byte,)) if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte for byte in words)
