"""Join the tensors of several Predict requests into one batch, and cut the answer apart again, without numpy.

The rules are those of TensorFlow's C++ parser (Tensor::FromProto): tensor_content wins over the *_val fields; of too
few values the last repeats, no value at all means zeros, surplus values are dropped. A sender's encoding is kept:
clients read `float_val` directly, so an answer must not change from *_val to tensor_content on its way.
"""

import math
from collections.abc import Hashable, Sequence
from typing import Final

from google.protobuf.unknown_fields import UnknownFieldSet

from serving import dtypes
from serving.errors import InternalError
from serving.wire import DEFAULT_SIGNATURE, Message, PredictRequest, PredictResponse, TensorProto

# A request whose few values stand for many elements is expanded by a join; it may double what was sent, or grow by 64 KiB
# (a constant mask of 128 x 128 floats beside a small input), whichever is more. Beyond it goes alone: with ten times, nine
# requests of 6.4 MB became a message of 612 MB.
_GROWTH_MAX: Final = 1
_GROWTH_FREE_BYTES: Final = 64 * 1024

# TensorFlow's own limit (TensorShape::MaxDimensions), and more names than models have inputs or outputs. What is beyond is
# not looked at: the product of a megabyte of dims has millions of digits, and nobody else is answered meanwhile.
_RANK_MAX: Final = 254
_NAMES_MAX: Final = 1_000

# Field numbers of PredictResponse, of a map's entry, and of TensorProto.
_OUTPUTS: Final = 1
_MODEL_SPEC: Final = 2
_MAP_KEY: Final = 1
_MAP_VALUE: Final = 2
_TENSOR_CONTENT: Final = 4


def measure(request: Message) -> tuple[int | None, Hashable | None]:
    """Return a PredictRequest's rows, the dim 0 all its inputs share, and its merge key; None: it must go alone.

    Not mergeable are requests with options (or fields this program does not know), without inputs, with more names or
    dims than any model has, with unequal dim 0 or a dim of zero, with a type or encoding we can't cut, and with contents
    that don't fit their shape: for those the backend has its own error.

    The key is all that must be equal between requests of one batch, but for the servable: the signature, the set of
    wanted outputs, and each input's name, type and row shape. It is None when a rank is unknown, or
    more than can be.
    """
    if len(request.inputs) > _NAMES_MAX or len(request.output_filter) > _NAMES_MAX:
        return None, None
    wanted = frozenset(request.output_filter)
    has_options = request.HasField("request_options") or request.HasField("predict_streamed_options")
    is_alone = has_options or len(UnknownFieldSet(request)) or len(wanted) != len(request.output_filter)
    count = growth_bytes = 0
    inputs = []
    for name, tensor in request.inputs.items():
        dims = _dims(tensor)
        if not dims:
            return None, None
        inputs.append((name, tensor.dtype, *dims[1:]))
        elements = math.prod(dims)
        growth = _growth_bytes(tensor, elements)
        is_alone = is_alone or not elements or growth is None or count not in (0, dims[0])
        count = dims[0]
        growth_bytes += growth or 0
    inputs.sort()
    key = request.model_spec.signature_name or DEFAULT_SIGNATURE, wanted, tuple(inputs)
    is_large = growth_bytes > _GROWTH_FREE_BYTES and growth_bytes > _GROWTH_MAX * request.ByteSize()
    return None if is_alone or is_large or not inputs else count, key


def join(requests: Sequence[Message], pad_to: int | None = None) -> Message:
    """Join requests, in order, to one PredictRequest with the model_spec and output_filter of the first.

    All must have the same key and be mergeable (`measure`). Up to `pad_to` rows are added, each the
    first row of the last request, as TF Serving pads. client_id is left out: a batch has many clients.
    """
    first = requests[0]
    joined = PredictRequest()
    joined.model_spec.CopyFrom(first.model_spec)
    joined.output_filter.extend(first.output_filter)
    for name in first.inputs:
        _join_input(joined.inputs[name], [request.inputs[name] for request in requests], pad_to)
    return joined


def split(response: Message, rows: Sequence[int], pad_to: int | None = None) -> list[Message]:
    """Cut a PredictResponse into one per request, of rows[i] rows each; what padding made is dropped.

    `pad_to` is what `join` was given: every output must have exactly that many rows, or sum(rows) without it, and
    as many values as its shape says; otherwise InternalError names the output. The answer to a single request
    without padding is returned as it is, since it needs no cut and the model may not be batch-major at all.
    """
    total = sum(rows)
    expected = total if pad_to is None else pad_to
    if len(rows) == 1 and expected == total:
        return [response]
    # The parts are put together as bytes and parsed once: a third of the time of filling messages field by field.
    spec = response.model_spec.SerializeToString()
    parts = [[wire_header(_MODEL_SPEC, len(spec)), spec] if response.HasField("model_spec") else [] for _ in rows]
    for name, tensor in response.outputs.items():
        _cut_output(name, tensor, _row_width(name, tensor, expected), rows, parts)
    return [PredictResponse.FromString(b"".join(part)) for part in parts]


def content_of(tensor: Message, elements: int) -> bytes:
    """Write a tensor of a type in dtypes.ENCODINGS as its `elements` elements in tensor_content's form.

    The caller has checked that a tensor_content which is there has the right length, and bounds `elements`.
    """
    if not elements:
        return b""
    if tensor.tensor_content:
        return bytes(tensor.tensor_content)
    encoding = dtypes.ENCODINGS[tensor.dtype]
    item_bytes = encoding.item_bytes
    packed = encoding.read(tensor)
    # Half a complex number does not count.
    present = min(len(packed) // item_bytes, elements)
    packed = packed[: present * item_bytes]
    last = packed[-item_bytes:] or bytes(item_bytes)
    return packed + last * (elements - present)


def strings_of(tensor: Message, elements: int) -> list[bytes]:
    """List the `elements` strings of a DT_STRING tensor that has no tensor_content; the caller bounds `elements`."""
    values = list(tensor.string_val[:elements])
    missing = elements - len(values)
    return values + [values[-1] if values else b""] * missing


def wire_header(number: int, size: int) -> bytes:
    """Write what stands before `size` bytes of a field with this number (below 16): its tag and a varint."""
    header = bytearray([number << 3 | 2])
    while size >= 0x80:
        header.append(size & 0x7F | 0x80)
        size >>= 7
    header.append(size)
    return bytes(header)


def _dims(tensor: Message) -> list[int]:
    """Return the tensor's dims; empty when its rank is 0, unknown or none that TensorFlow takes, or a dim is negative."""
    shape = tensor.tensor_shape
    if shape.unknown_rank or not 0 < len(shape.dim) <= _RANK_MAX:
        return []
    dims = [dim.size for dim in shape.dim]
    return dims if min(dims) >= 0 else []


def _growth_bytes(tensor: Message, elements: int) -> int | None:
    """Say how many bytes an expansion would add to what was sent; None when the tensor does not fit its shape."""
    content_bytes = len(tensor.tensor_content)
    if tensor.dtype == dtypes.STRING:
        if content_bytes:
            return None
        missing = elements - len(tensor.string_val)
        if missing <= 0:
            return 0
        # 8 bytes: what a list spends for each further reference, even to an empty string.
        return missing * (8 + (len(tensor.string_val[-1]) if tensor.string_val else 0))
    encoding = dtypes.ENCODINGS.get(tensor.dtype)
    if encoding is None:
        return None
    if content_bytes:
        return 0 if content_bytes == elements * encoding.item_bytes else None
    missing = elements - len(getattr(tensor, encoding.field)) // encoding.per_element
    return max(0, missing) * encoding.item_bytes


def _join_input(joined: Message, parts: Sequence[Message], pad_to: int | None) -> None:
    """Fill `joined` with the rows of all parts and the padding."""
    counts = [part.tensor_shape.dim[0].size for part in parts]
    total = sum(counts)
    padding = 0 if pad_to is None else pad_to - total
    if padding < 0:
        raise ValueError(f"pad_to must be at least the {total} rows of the batch, got {pad_to}")
    joined.dtype = parts[0].dtype
    joined.tensor_shape.CopyFrom(parts[0].tensor_shape)
    joined.tensor_shape.dim[0].size = total + padding
    width = math.prod(dim.size for dim in parts[0].tensor_shape.dim[1:])
    if joined.dtype == dtypes.STRING:
        for part, count in zip(parts, counts, strict=True):
            joined.string_val.extend(strings_of(part, count * width))
        joined.string_val.extend(strings_of(parts[-1], counts[-1] * width)[:width] * padding)
        return
    encoding = dtypes.ENCODINGS[joined.dtype]
    contents = [part.tensor_content for part in parts]
    if not any(contents):
        fields = [getattr(part, encoding.field) for part in parts]
        row_values = width * encoding.per_element
        if [len(field) for field in fields] == [count * row_values for count in counts]:
            target = getattr(joined, encoding.field)
            for field in fields:
                target.MergeFrom(field)
            target.extend(fields[-1][:row_values] * padding)
            return
    if not all(contents):
        contents = [content_of(part, count * width) for part, count in zip(parts, counts, strict=True)]
    contents.append(contents[-1][: width * encoding.item_bytes] * padding)
    joined.tensor_content = b"".join(contents)


def _row_width(name: str, tensor: Message, expected: int) -> int:
    """Return the elements of one row of an output, having checked that all `expected` rows are there."""
    dims = _dims(tensor)
    if not dims or dims[0] != expected:
        found = f"{dims[0]} rows" if dims else "no dim 0"
        raise InternalError(f'output "{name}" has {found}, but {expected} were sent: the model can\'t be batched')
    elements = math.prod(dims)
    encoding = dtypes.ENCODINGS.get(tensor.dtype)
    if encoding is None and tensor.dtype != dtypes.STRING:
        raise InternalError(f'output "{name}" is of type {dtypes.name(tensor.dtype)}, which can\'t be cut into rows')
    if encoding is None:
        present, wanted, unit = len(tensor.string_val), elements, "values"
        if tensor.tensor_content:
            raise InternalError(f'output "{name}" has its strings in tensor_content, which can\'t be cut into rows')
    elif tensor.tensor_content:
        present, wanted, unit = len(tensor.tensor_content), elements * encoding.item_bytes, "bytes"
    else:
        present, wanted, unit = len(getattr(tensor, encoding.field)), elements * encoding.per_element, "values"
    if present != wanted:
        raise InternalError(f'output "{name}" has {present} {unit}, but its shape {dims} wants {wanted}')
    return elements // expected


def _cut_output(name: str, tensor: Message, width: int, rows: Sequence[int], parts: list[list[bytes]]) -> None:
    """Add to each part its rows of one output, in the encoding the backend used."""
    heads = {count: _head(tensor, count) for count in set(rows)}
    encoding = dtypes.ENCODINGS.get(tensor.dtype)
    start = 0
    if encoding is not None and (tensor.tensor_content or encoding.is_raw):
        number = _TENSOR_CONTENT if tensor.tensor_content else encoding.number
        content = tensor.tensor_content or encoding.read(tensor)
        sizes = {count: count * width * encoding.item_bytes for count in heads}
        openings = {
            count: _opening(name, heads[count] + wire_header(number, sizes[count]), sizes[count]) for count in heads
        }
        for part, count in zip(parts, rows, strict=True):
            part += openings[count], content[start : start + sizes[count]]
            start += sizes[count]
        return
    field, per_element = ("string_val", 1) if encoding is None else (encoding.field, encoding.per_element)
    values = getattr(tensor, field)[:]
    for part, count in zip(parts, rows, strict=True):
        stop = start + count * width * per_element
        piece = TensorProto(**{field: values[start:stop]}).SerializeToString()
        part += _opening(name, heads[count], len(piece)), piece
        start = stop


def _opening(name: str, head: bytes, rest_bytes: int) -> bytes:
    """Write a PredictResponse's map entry for an output up to the last `rest_bytes` of its tensor."""
    key = name.encode()
    key = wire_header(_MAP_KEY, len(key)) + key
    value = wire_header(_MAP_VALUE, len(head) + rest_bytes) + head
    return wire_header(_OUTPUTS, len(key) + len(value) + rest_bytes) + key + value


def _head(tensor: Message, count: int) -> bytes:
    """Serialise a tensor's type and shape, with dim 0 set to `count`."""
    head = TensorProto(dtype=tensor.dtype, version_number=tensor.version_number)
    head.tensor_shape.CopyFrom(tensor.tensor_shape)
    head.tensor_shape.dim[0].size = count
    return bytes(head.SerializeToString())
