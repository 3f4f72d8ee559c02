"""Joining requests and cutting answers: by hand and with hostile input."""

import struct
import sys
from collections.abc import Hashable
from subprocess import run
from typing import Any

import pytest

from serving import dtypes
from serving.errors import InternalError
from serving.tensors import content_of, join, measure, split
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


def test_what_is_larger_than_any_model_is_not_looked_at() -> None:
    # A product of so many digits that it takes seconds; and names to be sorted, one by one.
    dims = request(x=floats([2**62] * 20_000, 1))
    inputs = request(**{f"x{number}": floats([1], 1) for number in range(1_001)})
    filtered = request(x=floats([1], 1))
    filtered.output_filter.extend(map(str, range(1_001)))

    assert [measure(one) for one in (dims, inputs, filtered)] == [(None, None)] * 3
    assert rows(request(x=floats([1] * 254, 1))) == 1


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


def test_what_is_large_may_double_and_no_more() -> None:
    sent = [1.0] * 25_000

    assert rows(request(x=floats([1, 49_000], *sent))) == 1
    assert rows(request(x=floats([1, 52_000], *sent))) is None


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


def test_no_numpy_is_needed() -> None:
    probe = "import sys, serving.tensors; sys.exit('numpy' in sys.modules)"

    assert run([sys.executable, "-c", probe], timeout=15, check=False).returncode == 0
