"""A Predict answer in TF Serving's REST API: a PredictResponse to JSON, laid out as RapidJSON's PrettyWriter does.

Source: tensorflow_serving/util/json_tensor.cc (commit 9d981c5c).
"""

import base64
import math
from collections.abc import Mapping
from typing import Final

from serving import dtypes
from serving.arrays import to_numpy
from serving.decimals import decimals
from serving.errors import InternalError, InvalidArgument
from serving.json_text import INDENT, quoted
from serving.rest_floats import write_float_rows
from serving.wire import Message

# The types TF Serving writes as JSON; others (half, bfloat16, uint16, complex) it refuses.
_INTEGERS: Final = frozenset(
    (dtypes.INT32, dtypes.INT16, dtypes.INT8, dtypes.UINT8, dtypes.INT64, dtypes.UINT32, dtypes.UINT64)
)


def encode_predict(response: Message, *, is_row: bool) -> bytes:
    """Write the outputs as `predictions` (row format) or `outputs` (columnar), one output bare, several by name.

    Row format wants the same dim 0 in every output: InvalidArgument names the one that differs.
    """
    tensors = response.outputs
    names = sorted(tensors)
    if not names:
        raise InvalidArgument("Cannot convert empty tensor map to JSON")
    if is_row and len(names) == 1:
        common = write_float_rows(tensors[names[0]])
        if common is not None:
            return common
    outputs = {name: tensors[name] for name in names}
    text = _rows_text(outputs) if is_row else _columns_text(outputs)
    # Strings of the model that are no UTF-8 go out as the bytes they are, as TF Serving does.
    return text.encode("utf-8", "surrogateescape")


def _rows_text(outputs: Mapping[str, Message]) -> str:
    """Write row format: each row's arrays in one line, and an object per row when there are several outputs."""
    count = _row_count(outputs)
    # Levels open around a value: document and list of rows, and the row's object.
    level = 2 if len(outputs) == 1 else 3
    columns = {name: _row_texts(name, tensor, level) for name, tensor in outputs.items()}
    if not count:
        predictions = "[]"
    elif len(columns) == 1:
        predictions = "[" + ", ".join(next(iter(columns.values()))) + f"\n{INDENT}]"
    else:
        names = [quoted(name) for name in columns]
        rows = []
        for values in zip(*columns.values(), strict=True):
            members = [f"\n{INDENT * 3}{name}: {value}" for name, value in zip(names, values, strict=True)]
            rows.append(f"\n{INDENT * 2}{{{','.join(members)}\n{INDENT * 2}}}")
        predictions = "[" + ",".join(rows) + f"\n{INDENT}]"
    return f'{{\n{INDENT}"predictions": {predictions}\n}}'


def _columns_text(outputs: Mapping[str, Message]) -> str:
    """Write columnar format: every element in a line of its own."""
    if len(outputs) == 1:
        name, tensor = next(iter(outputs.items()))
        text = _column_text(name, tensor, 1)
    else:
        members = [f"\n{INDENT * 2}{quoted(name)}: {_column_text(name, each, 2)}" for name, each in outputs.items()]
        text = "{" + ",".join(members) + f"\n{INDENT}}}"
    return f'{{\n{INDENT}"outputs": {text}\n}}'


def _row_count(outputs: Mapping[str, Message]) -> int:
    """Return the dim 0 that all outputs share."""
    count = -1
    for name, tensor in outputs.items():
        if not tensor.tensor_shape.dim:
            raise InvalidArgument(f"Tensor name: {name} has no shape information ")
        size = tensor.tensor_shape.dim[0].size
        if count >= 0 and size != count:
            raise InvalidArgument(f"Tensor name: {name} has inconsistent batch size: {size} expecting: {count}")
        count = size
    return count


def _row_texts(name: str, tensor: Message, level: int) -> list[str]:
    """Write an output's rows, each in one line; `level` objects and arrays are open around them."""
    dims = [dim.size for dim in tensor.tensor_shape.dim]
    texts = _element_texts(name, tensor, level + len(dims) - 1)
    for axis in range(len(dims) - 1, 0, -1):
        size = dims[axis]
        starts = range(0, math.prod(dims[:axis]) * size, size) if size else [0] * math.prod(dims[:axis])
        texts = ["[" + ", ".join(texts[start : start + size]) + "]" for start in starts]
    return texts


def _column_text(name: str, tensor: Message, level: int) -> str:
    """Write a whole output, a line an element; `level` objects are open around it."""
    dims = [dim.size for dim in tensor.tensor_shape.dim]
    texts = _element_texts(name, tensor, level + len(dims))
    for axis in range(len(dims) - 1, -1, -1):
        size = dims[axis]
        if not size:
            texts = ["[]"] * math.prod(dims[:axis])
            continue
        opening = "\n" + INDENT * (level + axis + 1)
        closing = "\n" + INDENT * (level + axis)
        starts = range(0, len(texts), size)
        texts = [f"[{opening}{f',{opening}'.join(texts[start : start + size])}{closing}]" for start in starts]
    return texts[0]


def _element_texts(name: str, tensor: Message, level: int) -> list[str]:
    """Write each element of an output; `level` objects and arrays are open around it."""
    dtype = tensor.dtype
    if dtype not in _INTEGERS and dtype not in (dtypes.FLOAT, dtypes.DOUBLE, dtypes.STRING, dtypes.BOOL):
        raise InvalidArgument(f"Failed to write JSON value for tensor type: {dtypes.name(dtype)}")
    try:
        values = to_numpy(tensor).reshape(-1)
    except InvalidArgument as error:
        raise InternalError(f'output "{name}": {error.message}') from error
    if dtype in (dtypes.FLOAT, dtypes.DOUBLE):
        return decimals(values)
    if dtype in _INTEGERS:
        return [str(value) for value in values.tolist()]
    if dtype == dtypes.BOOL:
        return ["true" if value else "false" for value in values.tolist()]
    if name.endswith("_bytes"):
        return [_bytes_text(value, level) for value in values.tolist()]
    return [quoted(value.decode("utf-8", "surrogateescape")) for value in values.tolist()]


def _bytes_text(value: bytes, level: int) -> str:
    """Write a string of an output named `*_bytes`, which is one of bytes to TF Serving."""
    text = base64.b64encode(value).decode()
    return f'{{\n{INDENT * (level + 1)}"b64": "{text}"\n{INDENT * level}}}'
