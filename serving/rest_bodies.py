"""Request bodies that come compressed: inflated within a bound, since a kilobyte can hold a gigabyte of zeros."""

import zlib
from typing import Final

from serving.errors import InvalidArgument

_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


def is_gzip(content_encoding: str) -> bool:
    """Whether a `Content-Encoding` header says gzip; TF Serving passes over any other encoding."""
    return content_encoding.strip().lower() == "gzip"


def inflated(body: bytes, max_bytes: int) -> bytes:
    """Undo gzip; InvalidArgument when it is none, cut short, or holds more than `max_bytes`."""
    inflater = zlib.decompressobj(_GZIP_WINDOW)
    try:
        whole = inflater.decompress(body, max_bytes)
    except zlib.error as error:
        raise InvalidArgument(f"Failed to uncompress request body: {error}") from error
    if inflater.unconsumed_tail or not inflater.eof:
        raise InvalidArgument(f"Failed to uncompress request body: cut short, or more than {max_bytes} bytes")
    return whole
