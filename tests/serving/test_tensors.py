"""Joining requests and cutting answers: by hand, by property and with hostile input."""

import math
import struct
import sys
from subprocess import run
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from serving import dtypes
from serving.errors import InternalError
from serving.tensors import content_of, join, merge_key, rows, split, strings_of
from serving.wire import Message, PredictRequest, PredictResponse, TensorProto


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


def floats(dims: list[int], *values: float) -> Message:
    return tensor(dtypes.FLOAT, dims, float_val=values)


def content(dims: list[int], *values: float) -> Message:
    return tensor(dtypes.FLOAT, dims, tensor_content=struct.pack(f"<{len(values)}f", *values))


def test_values_are_joined_as_values() -> None:
    joined = join([request(x=floats([1, 2], 1, 2)), request(x=floats([2, 2], 3, 4, 5, 6))])

    assert joined == request(x=floats([3, 2], 1, 2, 3, 4, 5, 6))


def test_contents_are_joined_as_contents() -> None:
    joined = join([request(x=content([1, 2], 1, 2)), request(x=content([2, 2], 3, 4, 5, 6))])

    assert joined == request(x=content([3, 2], 1, 2, 3, 4, 5, 6))


def test_mixed_and_short_encodings_become_contents() -> None:
    parts = [content([1, 2], 1, 2), floats([2, 2], 7), floats([1, 2]), floats([1, 2], 1, 2, 3)]
    joined = join([request(x=part) for part in parts])

    assert joined == request(x=content([5, 2], 1, 2, 7, 7, 7, 7, 0, 0, 1, 2))


def test_strings_are_joined_with_the_last_repeated() -> None:
    parts = [
        tensor(dtypes.STRING, [2], string_val=[b"a"]),
        tensor(dtypes.STRING, [1]),
        tensor(dtypes.STRING, [1], string_val=[b"b", b"c"]),
    ]
    joined = join([request(x=part) for part in parts])

    assert joined == request(x=tensor(dtypes.STRING, [4], string_val=[b"a", b"a", b"", b"b"]))


@pytest.mark.parametrize("make", [floats, content])
def test_padding_repeats_the_first_row_of_the_last_rider(make: Any) -> None:
    joined = join([request(x=make([1, 2], 1, 2)), request(x=make([2, 2], 3, 4, 5, 6))], pad_to=5)

    assert joined == request(x=make([5, 2], 1, 2, 3, 4, 5, 6, 3, 4, 3, 4))


def test_padding_of_strings() -> None:
    joined = join([request(x=tensor(dtypes.STRING, [2], string_val=[b"a", b"b"]))], pad_to=4)

    assert list(joined.inputs["x"].string_val) == [b"a", b"b", b"a", b"a"]


def test_padding_below_the_rows_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="at least the 2 rows"):
        join([request(x=floats([2], 1, 2))], pad_to=1)


def test_join_keeps_spec_and_filter_of_the_first_and_drops_the_client() -> None:
    first, second = request(x=floats([1], 1)), request(x=floats([1], 2))
    first.output_filter.extend(["b", "a"])
    second.output_filter.extend(["a", "b"])
    first.client_id = b"someone"

    assert merge_key(first) == merge_key(second)
    joined = join([first, second])
    assert list(joined.output_filter) == ["b", "a"]
    assert joined.model_spec == first.model_spec
    assert not joined.HasField("client_id")


def test_narrow_integers_are_cast_as_cpp_does() -> None:
    assert content_of(tensor(dtypes.UINT8, [2], int_val=[300, -1]), 2) == b"\x2c\xff"
    assert content_of(tensor(dtypes.INT16, [1], int_val=[65535]), 1) == b"\xff\xff"


def test_half_a_complex_number_is_not_counted() -> None:
    proto = tensor(dtypes.COMPLEX64, [2], scomplex_val=[1, 2, 3])

    assert content_of(proto, 2) == struct.pack("<4f", 1, 2, 1, 2)


def test_rows_is_dim_0() -> None:
    assert rows(request(x=floats([3, 2], 1), y=tensor(dtypes.STRING, [3]))) == 3


UNMERGEABLE = {
    "no inputs": request(),
    "scalar": request(x=floats([], 1)),
    "zero rows": request(x=floats([0, 4])),
    "dim 0 differs": request(x=floats([2], 1, 2), y=floats([1], 1)),
    "sparse": request(values=floats([3], 1, 2, 3), indices=tensor(dtypes.INT64, [3, 2]), shape=tensor(dtypes.INT64, [2])),
    "negative dim": request(x=floats([1, -1], 1)),
    "two negative dims": request(x=floats([1, -2, -2], 1, 2, 3, 4)),
    "unknown type": request(x=tensor(0, [1])),
    "resource": request(x=tensor(20, [1])),
    "quantised": request(x=tensor(11, [1], int_val=[1])),
    "float8": request(x=tensor(24, [1])),
    "strings in contents": request(x=tensor(dtypes.STRING, [1], tensor_content=b"\x01a")),
    "content too short": request(x=tensor(dtypes.FLOAT, [2], tensor_content=b"1234")),
    "content too long": request(x=tensor(dtypes.FLOAT, [1], tensor_content=b"12345678")),
    "rows of nothing": request(x=floats([2, 0])),
    "content of nothing": request(x=tensor(dtypes.FLOAT, [1, 0], tensor_content=b"1234")),
    "2^40 elements of one value": request(x=floats([1, 2**40], 1)),
    "2^40 elements of no value": request(x=floats([2**20, 2**20])),
    "2^40 strings of one": request(x=tensor(dtypes.STRING, [2**40], string_val=[b"a"])),
    "product overflows": request(x=floats([2**62, 2**62], 1)),
    "product wraps to 4 bytes": request(x=tensor(dtypes.FLOAT, [2**32 + 1, 2**32 + 1], tensor_content=b"1234")),
    "long string repeated": request(x=tensor(dtypes.STRING, [1000], string_val=[b"a" * 100_000])),
}  # fmt: skip


@pytest.mark.parametrize("case", UNMERGEABLE)
def test_goes_alone(case: str) -> None:
    assert rows(UNMERGEABLE[case]) is None


def test_unknown_rank_has_neither_rows_nor_key() -> None:
    proto = floats([1], 1)
    proto.tensor_shape.unknown_rank = True

    assert rows(request(x=proto)) is None
    assert merge_key(request(x=proto)) is None


def test_options_go_alone() -> None:
    for option in ("request_options", "predict_streamed_options"):
        message = request(x=floats([1], 1))
        getattr(message, option).SetInParent()
        assert rows(message) is None


def test_a_field_we_do_not_know_goes_alone() -> None:
    # Field 99, varint 1: an option of a later TF Serving.
    message = PredictRequest.FromString(request(x=floats([1], 1)).SerializeToString() + b"\x98\x06\x01")

    assert rows(message) is None


def test_a_repeated_filter_goes_alone_for_the_backends_own_error() -> None:
    message = request(x=floats([1], 1))
    message.output_filter.extend(["y", "y"])

    assert rows(message) is None


def test_a_small_constant_may_grow_but_many_may_not() -> None:
    mask = floats([1, 64, 64], 1)

    assert rows(request(x=mask)) == 1
    assert rows(request(**{f"x{number}": mask for number in range(10)})) is None


def test_key_tells_apart_what_must_not_meet() -> None:
    base = request(x=floats([1, 2], 1, 2))
    other_signature = request(x=floats([1, 2], 1, 2))
    other_signature.model_spec.signature_name = "other"
    filtered = request(x=floats([1, 2], 1, 2))
    filtered.output_filter.append("y")
    messages = [
        base, other_signature, filtered, request(z=floats([1, 2], 1, 2)), request(x=floats([1, 3], 1, 2, 3)),
        request(x=tensor(dtypes.DOUBLE, [1, 2])), request(x=floats([1, 2, 1], 1, 2)),
    ]  # fmt: skip

    assert len({merge_key(message) for message in messages}) == len(messages)


def test_key_ignores_rows_encoding_servable_and_the_name_of_the_default_signature() -> None:
    one = request(x=floats([1, 2], 1, 2), a=floats([1]))
    two = request(a=floats([2]), x=content([2, 2], 1, 2, 3, 4))
    two.model_spec.name = "elsewhere"
    two.model_spec.signature_name = "serving_default"

    assert merge_key(one) == merge_key(two)
    assert hash(merge_key(one)) == hash(merge_key(two))


@pytest.mark.parametrize("make", [floats, content])
def test_split_keeps_the_backends_encoding_and_spec(make: Any) -> None:
    parts = split(response(y=make([3, 2], 1, 2, 3, 4, 5, 6)), [1, 2])

    assert parts == [response(y=make([1, 2], 1, 2)), response(y=make([2, 2], 3, 4, 5, 6))]


def test_split_drops_padding() -> None:
    parts = split(response(y=floats([4], 1, 2, 3, 3)), [1, 2], pad_to=4)

    assert parts == [response(y=floats([1], 1)), response(y=floats([2], 2, 3))]


def test_split_of_a_padded_single_rider() -> None:
    assert split(response(y=floats([4], 1, 1, 1, 1)), [1], pad_to=4) == [response(y=floats([1], 1))]


def test_the_answer_to_a_single_rider_is_left_alone() -> None:
    scalar = response(y=floats([], 1))

    assert split(scalar, [5]) == [scalar]


BROKEN_OUTPUTS = {
    "has 3 rows, but 4 were sent": floats([3], 1, 2, 3),
    "has 5 rows, but 4 were sent": floats([5], 1, 2, 3, 4, 5),
    "has no dim 0": floats([], 1),
    "has 3 values, but its shape \\[4\\] wants 4": floats([4], 1, 2, 3),
    "has 5 values, but its shape \\[4\\] wants 4": floats([4], 1, 2, 3, 4, 5),
    "has 12 bytes, but its shape \\[4\\] wants 16": content([4], 1, 2, 3),
    "has 0 values": floats([4, 2**60]),
    "has 1 values": tensor(dtypes.STRING, [4], string_val=[b"a"]),
    "is of type variant": tensor(21, [4]),
    "has its strings in tensor_content": tensor(dtypes.STRING, [4], tensor_content=b"\x00\x00\x00\x00"),
}


@pytest.mark.parametrize("complaint", BROKEN_OUTPUTS)
def test_an_answer_that_cannot_be_cut_names_the_output(complaint: str) -> None:
    whole = floats([4], 1, 2, 3, 4)

    with pytest.raises(InternalError, match=f'output "bad" {complaint}'):
        split(response(good=whole, bad=BROKEN_OUTPUTS[complaint]), [1, 3])


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
    message = request(x=floats([1], 1))
    try:
        message.MergeFromString(noise)
    except DecodeError:
        return
    if rows(message) is not None:
        join([message, message])
    merge_key(message)


def test_no_numpy_is_needed() -> None:
    probe = "import sys, serving.tensors; sys.exit('numpy' in sys.modules)"

    assert run([sys.executable, "-c", probe], timeout=15, check=False).returncode == 0
