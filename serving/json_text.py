"""JSON as TF Serving reads and writes it: RapidJSON's dialect, and its complaints.

Source: tensorflow_serving/util/json_tensor.cc (commit 9d981c5c).
"""

import base64
import binascii
import json
import math
import re
from collections.abc import Iterator
from json.encoder import encode_basestring
from typing import Any, Final

import msgspec

from serving.decimals import SPECIAL
from serving.errors import InvalidArgument

INDENT: Final = "    "  # RapidJSON's PrettyWriter: 4 spaces.

# kMaxJsonDebugStringBytes: how much of a value a message shows.
_SHOWN_MAX: Final = 256

# Strings (left as they are) and the tokens that RapidJSON takes for a number. The closing quote is optional: so a
# string always matches, and text full of quotes can't make the search start again at each of them.
_TOKENS: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|-?(?:NaN|Inf(?:inity)?)', re.DOTALL)
_CONSTANTS: Final = {
    "NaN": "NaN", "-NaN": "NaN", "Inf": "Infinity", "Infinity": "Infinity", "-Inf": "-Infinity",
    "-Infinity": "-Infinity",
}  # fmt: skip

# The beginning of what Python's parser says, and what RapidJSON says of the same fault.
_COMPLAINTS: Final = {
    "Expecting value": "Invalid value.",
    "Expecting property name": "Missing a name for object member.",
    "Illegal trailing comma": "Missing a name for object member.",
    "Expecting ':'": "Missing a colon after a name of object member.",
    "Expecting ','": "Missing a comma or a closing bracket after an element.",
    "Unterminated string": "Missing a closing quotation mark in string.",
    "Invalid control character": "Invalid encoding in string.",
    "Invalid \\uXXXX": "Incorrect hex digit after \\u escape in string.",
    "Invalid \\escape": "Invalid escape character in string.",
}
_OTHER_COMPLAINT: Final = "Unspecific syntax error."

# The digits of the largest uint64; longer integers are decimals to RapidJSON.
_INTEGER_DIGITS: Final = 20


def parse(body: bytes) -> Any:
    """Read the first JSON document of the body, NaN and Infinity included; what follows it is ignored.

    Bytes in strings that are no UTF-8 come as surrogates (`surrogateescape`), see `to_bytes`. InvalidArgument
    with RapidJSON's words when there is no document; the position is Python's and may differ by a character or two.
    """
    if not body:
        raise InvalidArgument("JSON Parse error: The document is empty")
    try:
        return msgspec.json.decode(body)
    except RecursionError as error:
        raise _too_deep() from error
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Either broken, or one of the liberties RapidJSON takes and msgspec does not.
        return _parse_leniently(body)


def to_bytes(text: str) -> bytes:
    """Give a string of the document as the bytes it was sent as."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidArgument("JSON Parse error: The surrogate pair in string is invalid.") from error


def to_double(number: int | float) -> float:
    """Give a number of the document as a double; an integer of 309 digits may be too big for that."""
    try:
        return float(number)
    except OverflowError as error:
        raise InvalidArgument("JSON Parse error: Number too big to be stored in double.") from error


def is_base64_object(value: object) -> bool:
    """Is this JSON value TF Serving's way to write bytes, {"b64": "..."}?"""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def decode_base64(value: Any) -> bytes:
    """Read {"b64": "..."}: standard alphabet, spaces skipped, padding complete or absent (absl::Base64Unescape)."""
    if not is_base64_object(value):
        raise InvalidArgument(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    text = "".join(value["b64"].split())
    if "=" not in text:
        text += "=" * (-len(text) % 4)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        # ValueError: characters beyond ASCII.
        raise InvalidArgument("Unable to base64 decode") from error


def is_named(value: object) -> bool:
    """Does an object hold inputs by name (rather than bytes)?"""
    return isinstance(value, dict) and not is_base64_object(value)


def quoted(text: str) -> str:
    """Write a JSON string; what is not ASCII stays as it is."""
    return encode_basestring(text)


def type_name(value: object) -> str:
    """Name the JSON type of a value as RapidJSON does."""
    match value:
        case None:
            return "Null"
        case True:
            return "True"
        case False:
            return "False"
        case dict():
            return "Object"
        case list():
            return "Array"
        case str():
            return "String"
        case _:
            return "Number"


def shown(value: object) -> str:
    """Write a value for a message, cut at about 256 characters."""
    text = ""
    for piece in _pieces(value, 0):
        if len(text) >= _SHOWN_MAX:
            break
        text += piece
    return text


def _parse_leniently(body: bytes) -> Any:
    """Read what RapidJSON would, with Python's slower parser."""
    text = body.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    try:
        return _parse_text(text)
    except InvalidArgument:
        if "Inf" not in text and "-NaN" not in text:
            raise
    return _parse_text(_TOKENS.sub(lambda token: _CONSTANTS.get(token[0], token[0]), text))


def _parse_text(text: str) -> Any:
    """Read the first document of a text, with RapidJSON's complaints."""
    start = len(text) - len(text.lstrip(" \t\r\n"))
    if start == len(text):
        raise _complaint("The document is empty.", start)
    try:
        return _DECODER.raw_decode(text, start)[0]
    except json.JSONDecodeError as error:
        words = next((_COMPLAINTS[known] for known in _COMPLAINTS if error.msg.startswith(known)), _OTHER_COMPLAINT)
        raise _complaint(words, _offset(text, error.pos)) from error
    except _TooBigError as error:
        raise _complaint("Number too big to be stored in double.", _offset(text, text.find(str(error)))) from error
    except RecursionError as error:
        raise _too_deep() from error


class _TooBigError(Exception):
    """A number beyond the largest double; its text is the message."""


def _decimal(text: str) -> float:
    """Read a decimal that must be finite."""
    value = float(text)
    if math.isinf(value):
        raise _TooBigError(text)
    return value


def _integer(text: str) -> int | float:
    """Read an integer; one that no 64-bit type holds becomes a decimal, which also spares us int()'s square cost."""
    return int(text) if len(text) <= _INTEGER_DIGITS else _decimal(text)


_DECODER: Final = json.JSONDecoder(parse_float=_decimal, parse_int=_integer)


def _complaint(words: str, offset: int) -> InvalidArgument:
    return InvalidArgument(f"JSON Parse error: {words} at offset: {offset}")


def _too_deep() -> InvalidArgument:
    return InvalidArgument("JSON Parse error: the document is nested too deeply for a tensor (rank 254)")


def _offset(text: str, position: int) -> int:
    """Turn a position in the text into one in the body's bytes."""
    return len(text[:position].encode("utf-8", "surrogateescape"))


def _pieces(value: object, depth: int) -> Iterator[str]:
    """Write a value piece by piece: arrays in one line, an object's members in a line each."""
    if isinstance(value, list):
        yield "["
        for index, item in enumerate(value):
            if index:
                yield ", "
            yield from _pieces(item, depth + 1)
        yield "]"
    elif isinstance(value, dict):
        yield "{"
        for index, (name, item) in enumerate(value.items()):
            yield "," * (index > 0) + "\n" + INDENT * (depth + 1) + quoted(name[:_SHOWN_MAX]) + ": "
            yield from _pieces(item, depth + 1)
        yield "\n" + INDENT * depth + "}" if value else "}"
    elif isinstance(value, str):
        yield quoted(value[:_SHOWN_MAX])
    elif value is None or isinstance(value, bool):
        yield {None: "null", True: "true", False: "false"}[value]
    else:
        yield SPECIAL.get(repr(value)) or repr(value)
