"""TF Serving's REST API: its URLs and JSON. The front speaks HTTP, this is what goes through it.

Predict is in serving.rest_decode and serving.rest_encode, classify and regress in serving.rest_examples; all are
offered here. Source: tensorflow_serving/model_servers/http_rest_api_util.cc (commit 9d981c5c).
"""

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast
from urllib.parse import unquote_to_bytes

from google.protobuf import json_format

from serving.errors import InternalError, InvalidArgument
from serving.json_text import INDENT, quoted
from serving.rest_decode import decode_predict, input_types
from serving.rest_encode import encode_predict
from serving.rest_examples import decode_classify, decode_regress, encode_classify, encode_regress
from serving.wire import Message, SignatureDefMap

__all__ = [
    "Kind",
    "Route",
    "decode_classify",
    "decode_predict",
    "decode_regress",
    "encode_classify",
    "encode_metadata",
    "encode_models",
    "encode_predict",
    "encode_regress",
    "encode_status",
    "error_body",
    "input_types",
    "parse_route",
]

Kind = Literal["predict", "classify", "regress", "status", "metadata", "models"]

_TARGET: Final = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_FLAGS: Final = re.IGNORECASE | re.ASCII
_POST: Final = re.compile(rf"/v1/models/(?P<model>[^/:]+){_TARGET}:(?P<kind>classify|regress|predict)", _FLAGS)
_GET: Final = re.compile(rf"/v1/models(?:/(?P<model>[^/:]+))?{_TARGET}(?:/(?P<kind>metadata))?", _FLAGS)
_PATTERNS: Final = {"POST": _POST, "GET": _GET}

# The digits of the largest int64.
_VERSION_DIGITS: Final = 19


@dataclass(frozen=True, slots=True)
class Route:
    """What a URL asks for, of which model; never both a version and a label, and neither means the latest.

    Of kind `models`, the list of them all, it names none.
    """

    kind: Kind
    model: str
    version: int | None = None
    label: str | None = None


def parse_route(method: str, path: str) -> Route:
    """Read a request's method and path (still %-encoded; a query is ignored).

    Raises InvalidArgument with TF Serving's words. What lies outside /v1/ TF Serving answers with a bare 404: that is
    the front's business.
    """
    return _remembered(method, path) if len(path) <= _REMEMBERED_PATH_MAX else _parsed(method, path)


def _parsed(method: str, path: str) -> Route:
    """Read a method and a path."""
    path = path.partition("?")[0]
    pattern = _PATTERNS.get(method)
    match = pattern.fullmatch(path) if pattern else None
    if match is None:
        raise InvalidArgument(f"Malformed request: {method} {path}")
    version, label = match["version"], match["label"]
    if match["model"] is None:
        if version is None and label is None and match["kind"] is None:
            return Route("models", "")
        raise InvalidArgument("Missing model name in request.")
    return Route(
        kind=cast("Kind", (match["kind"] or "status").lower()),
        model=_decoded(match["model"], "model name"),
        version=None if version is None else _version(version),
        label=None if label is None else _decoded(label, "model version label"),
    )


# Clients ask for few paths. These bounds keep what others make us remember below 1 MB.
_REMEMBERED_PATH_MAX: Final = 256
_remembered: Final = functools.lru_cache(maxsize=1024)(_parsed)


def encode_status(response: Message) -> bytes:
    """Write a GetModelStatusResponse as TF Serving does: int64 as string, enums by name, zeros written."""
    return f"{_message_text(response)}\n".encode()


def encode_models(statuses: Mapping[str, Message]) -> bytes:
    """Write the list of models, each with its GetModelStatusResponse; TF Serving itself has no such list."""
    models = [{"name": name, **_message_fields(status)} for name, status in sorted(statuses.items())]
    return f"{json.dumps({'models': models}, indent=1, ensure_ascii=False)}\n".encode("utf-8", "replace")


def encode_metadata(response: Message) -> bytes:
    """Write a GetModelMetadataResponse, whose metadata must hold the signatures, as TF Serving does."""
    if "signature_def" not in response.metadata:
        raise InternalError("Failed to find 'signature_def' key in the GetModelMetadataResponse metadata map.")
    signatures = SignatureDefMap()
    if not response.metadata["signature_def"].Unpack(signatures):
        raise InternalError("Failed to unpack 'Any' object to 'SignatureDefMap'.")
    # TF Serving glues two JSON texts together, line breaks and all.
    spec, metadata = _message_text(response.model_spec), _message_text(signatures)
    return f'{{\n"model_spec":{spec}\n,\n"metadata": {{"signature_def": {metadata}\n}}\n}}\n'.encode()


def error_body(message: str) -> bytes:
    """Write the body of every REST error: {"error": message}."""
    return f'{{\n{INDENT}"error": {quoted(message)}\n}}'.encode("utf-8", "replace")


def _message_text(message: Message) -> str:
    """Write a message as protobuf's JSON, indented by 1 as its C++ printer does."""
    return json_format.MessageToJson(
        message, always_print_fields_with_no_presence=True, preserving_proto_field_name=True, indent=1
    )


def _message_fields(message: Message) -> dict[str, Any]:
    """Give a message as the fields of the JSON that `_message_text` writes."""
    return json_format.MessageToDict(
        message, always_print_fields_with_no_presence=True, preserving_proto_field_name=True
    )


def _decoded(text: str, what: str) -> str:
    """Undo the %-encoding of a part of the path."""
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeError as error:
        raise InvalidArgument(f"Failed to decode {what}:{ascii(text)[1:-1]}") from error


def _version(text: str) -> int:
    """Read a version, an int64."""
    digits = text.lstrip("0")
    if len(digits) > _VERSION_DIGITS or int(digits or "0") >= 2**63:
        raise InvalidArgument(f"Failed to convert version: {text} to numeric.")
    return int(digits or "0")
