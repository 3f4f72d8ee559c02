"""The signatures of a SavedModel, read from its file without TensorFlow.

A `saved_model.pb` is a protobuf message; the few fields needed are picked out by their numbers (saved_model.proto and
meta_graph.proto of TensorFlow), and all the rest, graphs of many megabytes, is stepped over.
"""

from collections.abc import Iterator
from typing import Any, Final

# DataType numbers of tensorflow/core/framework/types.proto.
_DTYPES: Final = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    8: "complex64",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    17: "uint16",
    18: "complex128",
    19: "float16",
    22: "uint32",
    23: "uint64",
}
_SERVE: Final = b"serve"


class SignaturesUnreadable(ValueError):
    """A `saved_model.pb` that is no SavedModel, or has nothing that can be served."""


def signatures(saved_model: bytes) -> dict[str, Any]:
    """Return the signatures by name: `{inputs, outputs}`, each `{name: {dtype, shape}}`; sizes left open are -1."""
    try:
        graphs = [bytes_ for number, bytes_ in _fields(saved_model) if number == 2]
        served = [graph for graph in graphs if _SERVE in _tags(graph)]
        if not served:
            raise SignaturesUnreadable("the SavedModel has no graph tagged `serve`: export it for serving")
        found = dict(_entry(entry, _signature) for number, entry in _fields(served[0]) if number == 5)
    except (IndexError, UnicodeDecodeError) as error:
        raise SignaturesUnreadable("saved_model.pb can't be read: is it a SavedModel?") from error
    # Keras and TensorFlow add it for their own use; nobody serves it.
    found.pop("__saved_model_init_op", None)
    if not found:
        raise SignaturesUnreadable("the SavedModel has no signatures: export it with at least `serving_default`")
    return dict(sorted(found.items()))


def _tags(graph: bytes | memoryview) -> list[bytes]:
    return [bytes(tag) for number, info in _fields(graph) if number == 1 for inner, tag in _fields(info) if inner == 4]


def _signature(content: memoryview) -> dict[str, Any]:
    sides: dict[str, dict[str, Any]] = {"inputs": {}, "outputs": {}}
    for number, entry in _fields(content):
        if number in (1, 2):
            name, tensor = _entry(entry, _tensor)
            sides["inputs" if number == 1 else "outputs"][name] = tensor
    return {side: dict(sorted(tensors.items())) for side, tensors in sides.items()}


def _tensor(content: memoryview) -> dict[str, Any]:
    dtype, shape = 0, None
    for number, value in _fields(content):
        if number == 2:
            dtype = int.from_bytes(value, "big")
        elif number == 3:
            shape = _shape(value)
    return {"dtype": _DTYPES.get(dtype, f"type {dtype}"), "shape": shape}


def _shape(content: memoryview) -> list[int] | None:
    sizes: list[int] = []
    for number, value in _fields(content):
        if number == 3 and int.from_bytes(value, "big"):
            return None
        if number == 2:
            (size,) = [int.from_bytes(inner, "big") for field, inner in _fields(value) if field == 1] or [0]
            sizes.append(size - 2**64 if size >= 2**63 else size)
    return sizes


def _entry(content: memoryview, read: Any) -> tuple[str, Any]:
    """Return key and value of an entry of a map."""
    parts = dict(_fields(content))
    return bytes(parts.get(1, b"")).decode(), read(parts.get(2, memoryview(b"")))


def _fields(content: bytes | memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of each field; a number comes as its bytes, the highest first. IndexError at a bad end."""
    view = memoryview(content)
    place = 0
    while place < len(view):
        tag, place = _varint(view, place)
        kind = tag & 7
        if kind == 0:
            value, place = _varint(view, place)
            yield tag >> 3, memoryview(value.to_bytes(10, "big"))
            continue
        if kind == 2:
            size, place = _varint(view, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise IndexError(f"wire type {kind}")
        if place + size > len(view):
            raise IndexError("the message ends in the middle")
        yield tag >> 3, view[place : place + size]
        place += size


def _varint(view: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), place
        shift += 7
        if shift > 63:
            raise IndexError("a number is too long")
