"""Whatever legal requests are joined, the answer splits into the same parts."""

import math
from collections.abc import Hashable
from typing import Any

from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from serving import dtypes
from serving.tensors import content_of, join, measure, split, strings_of
from serving.wire import Message, PredictRequest, PredictResponse, TensorProto


def rows(message: Any) -> int | None:
    return measure(message)[0]


def merge_key(message: Any) -> Hashable:
    return measure(message)[1]


def tensor(dtype: int, dims: list[int], **fields: Any) -> Message:
    proto = TensorProto(dtype=dtype, **fields)
    for size in dims:
        proto.tensor_shape.dim.add(size=size)
    return proto


def request(**inputs: Message) -> Message:
    message = PredictRequest()
    message.model_spec.name = "m"
    for name, proto in inputs.items():
        message.inputs[name].CopyFrom(proto)
    return message


def response(**outputs: Message) -> Message:
    message = PredictResponse()
    message.model_spec.name = "m"
    message.model_spec.version.value = 3
    for name, proto in outputs.items():
        message.outputs[name].CopyFrom(proto)
    return message


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "float_val": st.floats(width=32, allow_nan=False),
    "double_val": st.floats(allow_nan=False),
    "int_val": st.integers(-(2**31), 2**31 - 1),
    "scomplex_val": st.floats(width=32, allow_nan=False),
    "dcomplex_val": st.floats(allow_nan=False),
    "int64_val": st.integers(-(2**63), 2**63 - 1),
    "bool_val": st.booleans(),
    "half_val": st.integers(-(2**31), 2**31 - 1),
    "uint32_val": st.integers(0, 2**32 - 1),
    "uint64_val": st.integers(0, 2**64 - 1),
}


@st.composite
def parts_of_one_input(draw: st.DrawFn) -> list[Message]:
    """One input's tensors in 1 to 5 requests: one type and row shape, any rows, any legal encoding."""
    dtype = draw(st.sampled_from([dtypes.STRING, *dtypes.ENCODINGS]))
    row_dims = draw(st.lists(st.integers(1, 3), max_size=2))
    parts = []
    for count in draw(st.lists(st.integers(1, 3), min_size=1, max_size=5)):
        dims = [count, *row_dims]
        elements = math.prod(dims)
        # Short, exact and surplus values are all legal; exact is the rule, so it gets half of the draws.
        present = draw(st.one_of(st.just(elements), st.integers(0, elements + 2)))
        if dtype == dtypes.STRING:
            strings = draw(st.lists(st.binary(max_size=4), min_size=present, max_size=present))
            parts.append(tensor(dtype, dims, string_val=strings))
            continue
        encoding = dtypes.ENCODINGS[dtype]
        if draw(st.booleans()):
            length = elements * encoding.item_bytes
            raw = draw(st.binary(min_size=length, max_size=length))
            parts.append(tensor(dtype, dims, tensor_content=raw))
            continue
        length = present * encoding.per_element
        values = draw(st.lists(VALUES[encoding.field], min_size=length, max_size=length))
        parts.append(tensor(dtype, dims, **{encoding.field: values}))
    return parts


def elements_of(proto: Message) -> tuple[list[int], bytes | list[bytes]]:
    dims = [dim.size for dim in proto.tensor_shape.dim]
    if proto.dtype == dtypes.STRING:
        return dims, strings_of(proto, math.prod(dims))
    return dims, content_of(proto, math.prod(dims))


@given(parts_of_one_input(), st.integers(0, 4))
def test_what_was_joined_splits_into_its_parts(parts: list[Message], padding: int) -> None:
    requests = [request(x=part) for part in parts]
    counts = [rows(message) for message in requests]
    sizes = [count for count in counts if count is not None]
    assert len(sizes) == len(parts)
    assert len({merge_key(message) for message in requests}) == 1
    pad_to = sum(sizes) + padding

    joined = join(requests, pad_to)
    answers = split(response(x=joined.inputs["x"]), sizes, pad_to)

    assert rows(joined) == pad_to
    assert [elements_of(answer.outputs["x"]) for answer in answers] == [elements_of(part) for part in parts]


@given(parts_of_one_input())
def test_join_leaves_the_requests_as_they_were(parts: list[Message]) -> None:
    requests = [request(x=part) for part in parts]
    before = [message.SerializeToString(deterministic=True) for message in requests]

    join(requests, 20)

    assert [message.SerializeToString(deterministic=True) for message in requests] == before


@given(st.binary(max_size=200))
def test_any_bytes_that_parse_have_rows_or_go_alone(noise: bytes) -> None:
    message = request(x=tensor(dtypes.FLOAT, [1], float_val=[1]))
    try:
        message.MergeFromString(noise)
    except DecodeError:
        return
    if rows(message) is not None:
        join([message, message])
    merge_key(message)
