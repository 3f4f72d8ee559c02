"""Classify and Regress in TF Serving's REST API: JSON examples to requests, and results to JSON.

Source: tensorflow_serving/util/json_tensor.cc (commit 9d981c5c), whose messages these are.
"""

from typing import Any

import numpy as np

from serving.decimals import decimals
from serving.errors import InvalidArgument
from serving.json_text import (
    INDENT,
    decode_base64,
    is_base64_object,
    parse,
    quoted,
    shown,
    to_bytes,
    to_double,
    type_name,
)
from serving.wire import ClassificationRequest, Message, RegressionRequest


def decode_classify(body: bytes) -> Message:
    """Read a classify body to a ClassificationRequest, whose model_spec has no name or version yet."""
    request = ClassificationRequest()
    _fill(request, body)
    return request


def decode_regress(body: bytes) -> Message:
    """Read a regress body to a RegressionRequest, whose model_spec has no name or version yet."""
    request = RegressionRequest()
    _fill(request, body)
    return request


def encode_classify(response: Message) -> bytes:
    """Write a ClassificationResponse: for each example a list of [label, score]."""
    results = response.result.classifications
    if not results:
        raise InvalidArgument("Cannot convert empty ClassificationResults to JSON")
    texts = []
    for result in results:
        scores = decimals(np.array([one.score for one in result.classes], np.float32))
        pairs = [f"[{quoted(one.label)}, {score}]" for one, score in zip(result.classes, scores, strict=True)]
        texts.append(f"[{', '.join(pairs)}]")
    return f'{{\n{INDENT}"results": [{", ".join(texts)}\n{INDENT}]\n}}'.encode()


def encode_regress(response: Message) -> bytes:
    """Write a RegressionResponse: a value for each example."""
    results = response.result.regressions
    if not results:
        raise InvalidArgument("Cannot convert empty RegressionResults to JSON")
    values = decimals(np.array([one.value for one in results], np.float32))
    return f'{{\n{INDENT}"results": [{", ".join(values)}]\n}}'.encode()


def _fill(request: Message, body: bytes) -> None:
    """Fill a request from `signature_name`, `context` and `examples`."""
    document = parse(body)
    if not isinstance(document, dict):
        raise InvalidArgument(f"JSON Value: {shown(document)} Is not object")
    signature_name = document.get("signature_name", "")
    if not isinstance(signature_name, str):
        raise InvalidArgument(
            f"JSON Value: {shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    request.model_spec.signature_name = to_bytes(signature_name).decode("utf-8", "replace")
    examples = request.input.example_list.examples
    if "context" in document:
        _fill_example(request.input.example_list_with_context.context, document["context"])
        examples = request.input.example_list_with_context.examples
    if "examples" not in document:
        raise InvalidArgument(
            f"JSON Value: {shown(document)} When method is classify, key 'examples' is expected and was not found"
        )
    rows = document["examples"]
    if not isinstance(rows, list):
        raise InvalidArgument(f"JSON Value: {shown(document)} Expecting 'examples' value to be an list/array")
    if not rows:
        raise InvalidArgument(f"JSON Value: {shown(document)} 'examples' value is an empty array")
    for row in rows:
        _fill_example(examples.add(), row)


def _fill_example(example: Message, features: Any) -> None:
    """Fill an Example from an object of values or lists of values."""
    if not isinstance(features, dict):
        raise InvalidArgument(f"Example must be JSON object but got JSON {type_name(features)}")
    for name, value in features.items():
        values = value if isinstance(value, list) else [value]
        _fill_feature(example.features.feature[to_bytes(name).decode("utf-8", "replace")], name, values)


def _fill_feature(feature: Message, name: str, values: list[Any]) -> None:
    """Fill a Feature with values that must all be of one kind: whole numbers, decimals, or strings."""
    for value in values:
        kind, content = _feature_value(name, value)
        if feature.WhichOneof("kind") not in (None, kind):
            expected = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}
            raise InvalidArgument(
                f"Unexpected element type in feature: {name} expecting type: {expected[feature.WhichOneof('kind')]}"
            )
        getattr(feature, kind).value.append(content)


def _feature_value(name: str, value: Any) -> tuple[str, int | float | bytes]:
    """Say in which list of a Feature a JSON value goes, and as what."""
    if isinstance(value, float):
        return "float_list", value
    if isinstance(value, int):
        if value >= 2**64 or value < -(2**63):
            # Beyond 64 bits an integer is a decimal to RapidJSON.
            return "float_list", to_double(value)
        if value >= 2**63:
            raise InvalidArgument(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        return "int64_list", int(value)
    if isinstance(value, str):
        return "bytes_list", to_bytes(value)
    if is_base64_object(value):
        return "bytes_list", decode_base64(value)
    raise InvalidArgument(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")
