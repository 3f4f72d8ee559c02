"""Why a piece of JSON is not the tensor the signature asks for, in TF Serving's words.

The quick reader (serving.rest_decode) only knows that something is wrong; these walk through the JSON in the order in
which TF Serving does, and always raise. Source: tensorflow_serving/util/json_tensor.cc (commit 9d981c5c).
"""

from collections.abc import Mapping
from typing import Any, Final, NoReturn

from serving import dtypes
from serving.errors import InvalidArgument, ServingError, Unimplemented
from serving.json_text import decode_base64, is_named, shown, to_bytes, to_double, type_name

_INT32: Final = range(-(2**31), 2**31)

# What a JSON integer must be in. TF Serving takes any int32 for the narrow types, and casts it.
INTEGERS: Final[Mapping[int, range]] = {
    dtypes.INT32: _INT32,
    dtypes.INT16: _INT32,
    dtypes.INT8: _INT32,
    dtypes.UINT8: _INT32,
    dtypes.INT64: range(-(2**63), 2**63),
    dtypes.UINT32: range(2**32),
    dtypes.UINT64: range(2**64),
}

# TensorFlow's own limit (TensorShape::MaxDimensions); it also bounds the recursion here.
RANK_MAX: Final = 254


def complain_of_tensor(value: Any, dtype: int) -> NoReturn:
    """Raise what is wrong with a whole tensor."""
    _check(value, 0, _dims(value), dtype)
    raise InvalidArgument(f"JSON Value: {shown(value)} is no tensor of type {dtypes.name(dtype)}")


def complain_of_rows(instances: list[Any], types: Mapping[str, int]) -> NoReturn:
    """Raise what is wrong with the first bad row; `types` are the signature's inputs, sorted by name."""
    are_named = is_named(instances[0])
    seen: dict[str, tuple[list[int], int]] = {}
    for index, row in enumerate(instances):
        if is_named(row) != are_named:
            found = "Expecting object but got list" if are_named else "Expecting value/list but got object"
            raise InvalidArgument(f"{found} at item {index} of input list")
        for name, value in row.items() if are_named else [(next(iter(types)), row)]:
            try:
                _check_like_the_first(name, value, types, seen)
            except ServingError as error:
                key = f" key: {name}" if are_named else ""
                raise InvalidArgument(
                    f"Failed to process element: {index}{key} of 'instances' list. "
                    f"Error: {error.code.name}: {error.message}"
                ) from error
        if are_named and row.keys() != types.keys():
            raise InvalidArgument(
                f"Failed to process element: {index} of 'instances' list. JSON object: {shown(row)}"
                f" keys must be equal to: {','.join(types)}"
            )
    raise InvalidArgument(f"JSON Value: {shown(instances)} are no rows of the signature's inputs")


def _check_like_the_first(
    name: str, value: Any, types: Mapping[str, int], seen: dict[str, tuple[list[int], int]]
) -> None:
    """Check one input of one row, which must have the shape it had in the first."""
    if name not in types:
        raise InvalidArgument(f"JSON object: does not have named input: {name}")
    dims = _dims(value)
    size = _check(value, 0, dims, types[name])
    first_dims, first_size = seen.setdefault(name, (dims, size))
    if size != first_size:
        raise InvalidArgument(f"Expecting tensor size: {first_size} but got: {size}")
    if dims != first_dims:
        raise InvalidArgument(f"Expecting shape {_shape(first_dims)} but got: {_shape(dims)}")


def _dims(value: Any) -> list[int]:
    """Read the shape off the first elements."""
    dims: list[int] = []
    while isinstance(value, list):
        dims.append(len(value))
        if len(dims) > RANK_MAX:
            raise InvalidArgument(f"Encountered lists nested deeper than the {RANK_MAX} dimensions a tensor may have")
        if not value:
            break
        value = value[0]
    return dims


def _check(value: Any, level: int, dims: list[int], dtype: int) -> int:
    """Count the elements of a value at some level of nesting, having checked each."""
    if not isinstance(value, list):
        if level != len(dims):
            raise InvalidArgument(
                f"JSON Value: {shown(value)} found at incorrect level: {level + 1} in the JSON DOM."
                f" Expected at level: {len(dims)}"
            )
        _check_element(value, dtype)
        return 1
    if level >= len(dims):
        raise InvalidArgument(f"Encountered list at unexpected level: {level} expected < {len(dims)}")
    if len(value) != dims[level]:
        raise InvalidArgument(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {dims[level]}"
        )
    count = 0
    for item in value:
        count += _check(item, level + 1, dims, dtype)
    return count


def _check_element(value: Any, dtype: int) -> None:
    """Check that a JSON value is one element of the type."""
    kind = type(value)
    if kind is dict and dtype == dtypes.STRING:
        decode_base64(value)
        return
    if dtype in (dtypes.FLOAT, dtypes.DOUBLE):
        is_right = kind in (int, float)
        if is_right:
            to_double(value)
    elif dtype in INTEGERS:
        is_right = kind is int and value in INTEGERS[dtype]
    elif dtype == dtypes.STRING:
        is_right = kind is str
        if is_right:
            to_bytes(value)
    elif dtype == dtypes.BOOL:
        is_right = kind is bool
    elif kind is dict:
        is_right = False
    else:
        raise Unimplemented(f"Conversion of JSON Value: {shown(value)} to type: {dtypes.name(dtype)}")
    if not is_right:
        raise InvalidArgument(
            f"JSON Value: {shown(value)} Type: {type_name(value)} is not of expected type: {dtypes.name(dtype)}"
        )


def _shape(dims: list[int]) -> str:
    return f"[{','.join(map(str, dims))}]"
