"""The commonest Predict bodies, rows of numbers in and out: for one input, and of one output, of floats.

Any other is None here: `serving.rest_decode` and `serving.rest_encode` read and write it, or say what is wrong with it.
What both could do comes out the same, byte for byte; property tests hold them together.
"""

import re
import struct
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from serving import dtypes
from serving.decimals import FEW_MAX, few_decimals
from serving.json_text import INDENT
from serving.wire import DEFAULT_SIGNATURE, Message, PredictRequest

_CODES: Final[Mapping[int, str]] = {dtypes.FLOAT: "f", dtypes.DOUBLE: "d"}

# How such a body begins: perhaps with a plain name of a signature, then with as many brackets as its rows have
# dimensions. Nothing is read twice (`*+`), however long the white space.
_HEAD: Final = re.compile(
    rb'\s*+\{\s*+(?:"signature_name"\s*+:\s*+"(\w*+)"\s*+,\s*+)?"instances"\s*+:\s*+((?:\[\s*+)++)(?=[-\d])'
)
# A batch of images with channels.
_DEPTH_MAX: Final = 4


def _decoder(depth: int) -> Any:
    """Build a decoder of bodies whose numbers stand inside so many lists."""
    kind: Any = float
    for _ in range(depth):
        kind = list[kind]
    fields: list[Any] = [("instances", kind), ("signature_name", str, "")]
    return msgspec.json.Decoder(msgspec.defstruct("Rows", fields, forbid_unknown_fields=True, gc=False))


_DECODERS: Final = tuple(_decoder(depth) for depth in range(1, _DEPTH_MAX + 1))


def read_float_rows(body: bytes, signatures: Mapping[str, Mapping[str, int]]) -> Message | None:
    """Read a body by the input types of the model's signatures; None when it is not of the common kind."""
    head = _HEAD.match(body)
    if head is None:
        return None
    depth = head[2].count(b"[")
    types = signatures.get((head[1] or b"").decode() or DEFAULT_SIGNATURE, {})
    if len(types) != 1 or depth > _DEPTH_MAX:
        return None
    ((name, dtype),) = types.items()
    # NaN and Infinity, which RapidJSON takes and msgspec does not: it would read in vain up to the first of them.
    if dtype not in _CODES or b"N" in body or b"I" in body:
        return None
    try:
        document = _DECODERS[depth - 1].decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    signature_name = document.signature_name
    # A name behind the rows is known only now.
    if signatures.get(signature_name or DEFAULT_SIGNATURE) != types:
        return None
    request = PredictRequest()
    request.model_spec.signature_name = signature_name
    is_tensor = _fill(request.inputs[name], document.instances, depth, dtype)
    return request if is_tensor else None


def write_float_rows(tensor: Message) -> bytes | None:
    """Write the rows of a PredictResponse's one output; None unless they are few floats, flat or in lists."""
    code = _CODES.get(tensor.dtype)
    if code is None:
        return None
    shape = tensor.tensor_shape
    dims = shape.dim
    if not 1 <= len(dims) <= 2 or shape.unknown_rank:
        return None
    rows = dims[0].size
    columns = dims[1].size if len(dims) == 2 else 1
    if rows < 1 or not 1 <= rows * columns <= FEW_MAX:
        return None
    values = _all_values(tensor, rows * columns, code)
    if values is None:
        return None
    text = few_decimals(values, is_single=code == "f")
    if rows > 1 and len(dims) == 2:
        texts = text.split(", ")
        text = "], [".join([", ".join(texts[start : start + columns]) for start in range(0, len(texts), columns)])
    predictions = f"[{text}]" if len(dims) == 2 else text
    return f'{{\n{INDENT}"predictions": [{predictions}\n{INDENT}]\n}}'.encode()


def is_float(dtype: int) -> bool:
    """Tell the types that decimals are read as."""
    return dtype in _CODES


def packed(values: Sequence[float], dtype: int) -> bytes:
    """Write numbers as the content of a tensor of floats; struct.error for an integer beyond every double.

    A decimal beyond float32 is infinite, as the cast in C++ makes it. `struct` takes a third of the time of `array`,
    which takes two thirds of numpy's.
    """
    return struct.pack(f"{len(values)}{_CODES[dtype]}", *values)


def _fill(tensor: Message, values: list[Any], depth: int, dtype: int) -> bool:
    """Write numbers inside `depth` lists as a tensor; False when the lists are of no one size, or there are no rows."""
    dims = [len(values)]
    for _ in range(depth - 1):
        sizes = set(map(len, values))
        if len(sizes) != 1:
            return False
        dims += sizes
        values = values[0] if len(values) == 1 else list(chain.from_iterable(values))
    if not dims[0]:
        return False
    tensor.dtype = dtype
    tensor.tensor_content = packed(values, dtype)
    add_dim = tensor.tensor_shape.dim.add
    for size in dims:
        add_dim().size = size
    return True


def _all_values(tensor: Message, count: int, code: str) -> tuple[float, ...] | None:
    """Read a tensor of just `count` floats; None when it has fewer, which stand for more, or too many.

    `to_numpy`, which knows all ways to write a tensor, takes five times as long.
    """
    content = tensor.tensor_content
    if content:
        layout = f"<{count}{code}"
        return struct.unpack(layout, content) if struct.calcsize(layout) == len(content) else None
    field = tensor.float_val if code == "f" else tensor.double_val
    return tuple(field[:]) if len(field) == count else None
