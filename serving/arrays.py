"""TensorProto to numpy and back, by the rules of TensorFlow's C++ parser (see serving.tensors)."""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serving import dtypes
from serving.errors import InvalidArgument
from serving.tensors import content_of, strings_of, wire_header
from serving.wire import Message, TensorProto

# Few values may stand for many elements: a filled constant is legal. What an attacker can make us allocate is held to
# ten times what he sent, or 1 MiB (512 x 512 floats, a constant mask) when that is more.
_GROWTH_MAX: Final = 10
_GROWTH_FREE_BYTES: Final = 1024 * 1024

# numpy's limit; TensorFlow's own is 254.
_RANK_MAX: Final = 64
# numpy counts bytes in an int64, of elements of up to 16, and does so for the other dims when one is 0.
_ELEMENTS_MAX: Final = 2**63 // 16 - 1

_NUMPY: Final[dict[int, Any]] = {
    dtypes.FLOAT: np.float32,
    dtypes.DOUBLE: np.float64,
    dtypes.INT32: np.int32,
    dtypes.UINT8: np.uint8,
    dtypes.INT16: np.int16,
    dtypes.INT8: np.int8,
    dtypes.COMPLEX64: np.complex64,
    dtypes.INT64: np.int64,
    dtypes.UINT16: np.uint16,
    dtypes.COMPLEX128: np.complex128,
    dtypes.HALF: np.float16,
    dtypes.UINT32: np.uint32,
    dtypes.UINT64: np.uint64,
}
# By dtype.str, which costs a tenth of dtype.name. Big-endian arrays are swapped; bfloat16 says "<V2" and is apart.
_DTYPES: Final[dict[str, int]] = {
    **{np.dtype(scalar).str: dtype for dtype, scalar in _NUMPY.items()},
    **{np.dtype(scalar).newbyteorder(">").str: dtype for dtype, scalar in _NUMPY.items()},
    "|b1": dtypes.BOOL,
}


def to_numpy(tensor: Message) -> NDArray[Any]:
    """Read a TensorProto; strings become an object array of bytes. The array may be read-only.

    Raises InvalidArgument beginning with `tensor parsing error: ` when contents and shape don't fit each other.
    """
    dims = _checked_dims(tensor)
    elements = math.prod(dims)
    if tensor.dtype == dtypes.STRING:
        return _strings(tensor, elements).reshape(dims)
    encoding = dtypes.ENCODINGS.get(tensor.dtype)
    if encoding is None:
        raise _error(f"type {dtypes.name(tensor.dtype)} is not supported")
    content_bytes = len(tensor.tensor_content)
    if content_bytes and elements and content_bytes != elements * encoding.item_bytes:
        raise _error(f"tensor_content has {content_bytes} bytes, shape {dims} wants {elements * encoding.item_bytes}")
    if not content_bytes:
        _check_growth(tensor, dims, elements * encoding.item_bytes)
    content = content_of(tensor, elements)
    if tensor.dtype == dtypes.BOOL:
        # Any byte but 0 is true; a numpy bool that holds another byte than 0 and 1 misbehaves.
        truth: NDArray[Any] = np.frombuffer(content, np.uint8) != 0
        return truth.reshape(dims)
    return np.frombuffer(content, _numpy_dtype(tensor.dtype)).reshape(dims)


def from_numpy(array: NDArray[Any], *, as_content: bool = False) -> Message:
    """Write an array as a TensorProto: in the type's *_val field as stock TF Serving answers, or in tensor_content.

    Strings (bytes, str, or objects that are either) always go to string_val. Raises InvalidArgument for other types.
    """
    tensor = TensorProto()
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if array.dtype.kind in "OSU":
        tensor.dtype = dtypes.STRING
        tensor.string_val.extend(_as_bytes(value) for value in array.ravel().tolist())
        return tensor
    dtype = _DTYPES.get(array.dtype.str)
    if dtype is None and array.dtype.name == "bfloat16":
        dtype = dtypes.BFLOAT16
    if dtype is None:
        raise InvalidArgument(f"no TensorFlow type for numpy's {array.dtype}")
    tensor.dtype = dtype
    content = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    if as_content or not content:
        tensor.tensor_content = content
        return tensor
    encoding = dtypes.ENCODINGS[dtype]
    if encoding.is_raw:
        tensor.MergeFromString(wire_header(encoding.number, len(content)) + content)
    else:
        if encoding.field == "half_val":
            array = np.frombuffer(content, "<u2")
        getattr(tensor, encoding.field).extend(array.ravel().tolist())
    return tensor


def _error(why: str) -> InvalidArgument:
    return InvalidArgument(f"tensor parsing error: {why}")


def _checked_dims(tensor: Message) -> tuple[int, ...]:
    """Return the shape; InvalidArgument when TensorFlow would not take it."""
    shape = tensor.tensor_shape
    if shape.unknown_rank:
        raise _error("the rank is unknown")
    if len(shape.dim) > _RANK_MAX:
        raise _error(f"rank {len(shape.dim)} is above {_RANK_MAX}")
    dims = tuple(dim.size for dim in shape.dim)
    if dims and min(dims) < 0:
        raise _error(f"shape {dims} has a negative dim")
    if math.prod(max(size, 1) for size in dims) > _ELEMENTS_MAX:
        raise _error(f"shape {dims} has more than {_ELEMENTS_MAX} elements")
    return dims


def _check_growth(tensor: Message, dims: tuple[int, ...], wanted_bytes: int) -> None:
    """Refuse a shape that would make us allocate far more than was sent."""
    if wanted_bytes > _GROWTH_FREE_BYTES and wanted_bytes > _GROWTH_MAX * tensor.ByteSize():
        raise _error(f"shape {dims} wants {wanted_bytes} bytes, only {tensor.ByteSize()} were sent")


def _strings(tensor: Message, elements: int) -> NDArray[Any]:
    """Read the strings of a tensor as a flat object array."""
    if not elements:
        return np.empty(0, object)
    if elements > len(tensor.string_val) or tensor.tensor_content:
        # 8 bytes: a reference; the strings themselves are shared.
        _check_growth(tensor, (elements,), 8 * elements)
    array = np.empty(elements, object)
    array[:] = _content_strings(tensor, elements) if tensor.tensor_content else strings_of(tensor, elements)
    return array


def _content_strings(tensor: Message, elements: int) -> list[bytes]:
    """Read strings from tensor_content: all lengths as varints, then all bytes (port::DecodeStringList)."""
    content = tensor.tensor_content
    position = 0
    lengths = []
    for _ in range(elements):
        length = shift = 0
        while True:
            # 5 bytes hold 35 bits: a varint32 has no more.
            if position >= len(content) or shift > 28:
                raise _error("tensor_content holds no list of strings")
            byte = content[position]
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length)
    if sum(lengths) != len(content) - position:
        raise _error(
            f"tensor_content holds {len(content) - position} bytes of strings, their lengths say {sum(lengths)}"
        )
    values = []
    for length in lengths:
        values.append(content[position : position + length])
        position += length
    return values


def _numpy_dtype(dtype: int) -> Any:
    """Return numpy's type; bfloat16 is there where ml_dtypes is, which comes with TensorFlow."""
    if dtype != dtypes.BFLOAT16:
        return np.dtype(_NUMPY[dtype]).newbyteorder("<")
    try:
        import ml_dtypes
    except ImportError as error:
        raise _error("type bfloat16 needs the package ml_dtypes") from error
    return np.dtype(ml_dtypes.bfloat16)


def _as_bytes(value: object) -> bytes:
    """Return one element of a string array."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise InvalidArgument(f"a string tensor holds bytes or str, got {type(value).__name__}")
