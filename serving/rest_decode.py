"""A Predict request in TF Serving's REST API: JSON rows or columns to a PredictRequest.

Source: tensorflow_serving/util/json_tensor.cc (commit 9d981c5c), whose messages these are.
"""

import struct
from collections.abc import Mapping
from itertools import chain
from typing import Any, Final

import numpy as np

from serving import dtypes
from serving.errors import InvalidArgument
from serving.json_text import decode_base64, is_named, parse, shown, to_bytes
from serving.rest_complaints import INTEGERS, complain_of_rows, complain_of_tensor
from serving.rest_floats import is_float, packed, read_float_rows
from serving.wire import DEFAULT_SIGNATURE, Message, PredictRequest

_INTEGER_TYPES: Final[Mapping[int, Any]] = {
    dtypes.INT32: np.int32,
    dtypes.INT16: np.int16,
    dtypes.INT8: np.int8,
    dtypes.UINT8: np.uint8,
    dtypes.INT64: np.int64,
    dtypes.UINT32: np.uint32,
    dtypes.UINT64: np.uint64,
}

# TensorFlow's own limit (TensorShape::MaxDimensions).
_RANK_MAX: Final = 254


def input_types(signatures: Mapping[str, Message]) -> dict[str, dict[str, int]]:
    """Give the types of the inputs, sorted by name, of each of a model's SignatureDefs: all that bodies are read by."""
    return {
        key: {name: info.dtype for name, info in sorted(signature.inputs.items())}
        for key, signature in signatures.items()
    }


def decode_predict(body: bytes, signatures: Mapping[str, Mapping[str, int]]) -> tuple[Message, bool]:
    """Read a predict body by the model's `input_types`; the request's model_spec has no name or version yet.

    The second value is True for row format (`instances`), False for columnar (`inputs`); the answer must be in the
    same. Raises InvalidArgument, or Unimplemented for types JSON can't carry here (half, bfloat16, complex, uint16).
    """
    common = read_float_rows(body, signatures)
    if common is not None:
        return common, True
    return decode_any(body, signatures)


def decode_any(body: bytes, signatures: Mapping[str, Mapping[str, int]]) -> tuple[Message, bool]:
    """Read a body of any kind, or say what is wrong with it."""
    document = parse(body)
    if not isinstance(document, dict):
        raise InvalidArgument(f"JSON Value: {shown(document)} Is not object")
    request = PredictRequest()
    signature_name = document.get("signature_name", "")
    if not isinstance(signature_name, str):
        raise InvalidArgument(
            f"JSON Value: {shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    types = signatures.get(signature_name or DEFAULT_SIGNATURE)
    if types is None:
        wanted = signature_name or DEFAULT_SIGNATURE
        raise InvalidArgument(f'Serving signature name: "{wanted}" not found in signature def')
    request.model_spec.signature_name = signature_name
    if not types:
        raise InvalidArgument(f"Failed to get input map for signature: {signature_name or 'DEFAULT'}")
    if "instances" in document:
        _fill_rows(request, _instances(document), types)
        return request, True
    if "inputs" in document:
        _fill_columns(request, document["inputs"], types)
        return request, False
    raise InvalidArgument("Missing 'inputs' or 'instances' key")


def _instances(document: dict[str, Any]) -> list[Any]:
    """Return the rows of a document that has them."""
    instances = document["instances"]
    if "inputs" in document:
        raise InvalidArgument(
            f"JSON Value: {shown(document)} Not formatted correctly expecting only"
            " one of 'inputs' or 'instances' keys to exist "
        )
    if not isinstance(instances, list):
        raise InvalidArgument(f"JSON Value: {shown(document)} Expecting 'instances' to be an list/array")
    if not instances:
        raise InvalidArgument(f"JSON Value: {shown(document)} No values in 'instances' array")
    return instances


def _fill_rows(request: Message, instances: list[Any], types: Mapping[str, int]) -> None:
    """Fill the inputs from rows: values when there is one input, objects of values when there are several."""
    if len(types) > 1 and not isinstance(instances[0], dict):
        raise InvalidArgument(
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map"
        )
    columns: dict[str, list[Any]] = {}
    if not is_named(instances[0]):
        columns[next(iter(types))] = instances
    elif all(isinstance(row, dict) and row.keys() == types.keys() for row in instances):
        columns = {name: [row[name] for row in instances] for name in types}
    if not columns or not all(_fill(request.inputs[name], columns[name], types[name]) for name in columns):
        complain_of_rows(instances, types)


def _fill_columns(request: Message, inputs: Any, types: Mapping[str, int]) -> None:
    """Fill the inputs from whole tensors: one value when there is one input, or an object of them; others are ignored."""
    columns: dict[str, Any] = {}
    if is_named(inputs):
        for name in types:
            if name not in inputs:
                raise InvalidArgument(f"Missing named input: {name} in 'inputs' object.")
            columns[name] = inputs[name]
    elif len(types) > 1:
        raise InvalidArgument(
            "inputs is a plain value/list, but expecting an object as multiple "
            "input tensors required as per tensorinfo_map"
        )
    else:
        columns[next(iter(types))] = inputs
    for name, value in columns.items():
        if not _fill(request.inputs[name], value, types[name]):
            complain_of_tensor(value, types[name])


def _fill(tensor: Message, value: Any, dtype: int) -> bool:
    """Write a JSON value as tensor, quickly; False when it isn't one, and then a slower look finds out why."""
    dims: list[int] = []
    level = [value]
    while level and type(level[0]) is list:
        sizes = set(map(len, level)) if set(map(type, level)) == {list} else set()
        if len(sizes) != 1 or len(dims) == _RANK_MAX:
            return False
        dims += sizes
        level = list(chain.from_iterable(level))
    if not _pack(tensor, level, dtype):
        return False
    tensor.dtype = dtype
    for size in dims:
        tensor.tensor_shape.dim.add(size=size)
    return True


def _pack(tensor: Message, values: list[Any], dtype: int) -> bool:
    """Write the flat values of one type; False when any is of another."""
    kinds = set(map(type, values))
    if is_float(dtype) and kinds <= {int, float}:
        try:
            tensor.tensor_content = packed(values, dtype)
        except struct.error:
            return False
        return True
    if dtype in INTEGERS and kinds <= {int}:
        if values and (min(values) not in INTEGERS[dtype] or max(values) not in INTEGERS[dtype]):
            return False
        wide = np.uint64 if dtype == dtypes.UINT64 else np.int64
        tensor.tensor_content = np.array(values, wide).astype(_INTEGER_TYPES[dtype]).tobytes()
        return True
    if dtype == dtypes.BOOL and kinds <= {bool}:
        tensor.tensor_content = bytes(values)
        return True
    if dtype == dtypes.STRING and kinds <= {str, dict}:
        try:
            tensor.string_val.extend(to_bytes(one) if isinstance(one, str) else decode_base64(one) for one in values)
        except InvalidArgument:
            return False
        return True
    return False
