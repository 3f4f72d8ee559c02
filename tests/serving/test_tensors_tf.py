"""The same tensors read by TensorFlow's own C++ parser; it takes seconds to import, so all of it is here."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving import dtypes
from serving.arrays import from_numpy, to_numpy
from serving.errors import InvalidArgument
from serving.tensors import join, measure
from serving.wire import Message, PredictRequest, TensorProto

tf: Any = pytest.importorskip("tensorflow")

pytestmark = pytest.mark.timeout(120)

DTYPES = [*dtypes.ENCODINGS, dtypes.STRING]
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "float_val": st.floats(width=32, allow_nan=False),
    "double_val": st.floats(allow_nan=False),
    "int_val": st.integers(-(2**31), 2**31 - 1),
    "string_val": st.binary(max_size=3),
    "scomplex_val": st.floats(width=32, allow_nan=False),
    "dcomplex_val": st.floats(allow_nan=False),
    "int64_val": st.integers(-(2**63), 2**63 - 1),
    "bool_val": st.booleans(),
    "half_val": st.integers(0, 2**16 - 1),
    "uint32_val": st.integers(0, 2**32 - 1),
    "uint64_val": st.integers(0, 2**64 - 1),
}


@st.composite
def protos(draw: st.DrawFn, dtype: int | None = None, row_dims: list[int] | None = None) -> Message:
    """Any tensor at all: right or wrong field, short, surplus or no values, contents of right or wrong length."""
    if dtype is None:
        dtype = draw(st.sampled_from(DTYPES))
    if row_dims is None:
        dims = draw(st.lists(st.integers(0, 3), max_size=3))
    else:
        dims = [draw(st.integers(1, 3)), *row_dims]
    proto = TensorProto(dtype=dtype)
    for size in dims:
        proto.tensor_shape.dim.add(size=size)
    encoding = dtypes.ENCODINGS.get(dtype)
    right = encoding.field if encoding else "string_val"
    field = draw(st.one_of(st.just(right), st.sampled_from(list(FIELDS)) if row_dims is None else st.just(right)))
    getattr(proto, field).extend(draw(st.lists(FIELDS[field], max_size=2 * math.prod(dims) + 1)))
    if encoding and draw(st.booleans()):
        wrong = draw(st.sampled_from([0, 0, 0, 1])) if row_dims is None else 0
        size = math.prod(dims) * encoding.item_bytes + wrong
        # Bytes 0 and 1 are what a bool may be.
        alphabet = st.sampled_from([0, 1]) if dtype == dtypes.BOOL else st.integers(0, 255)
        proto.tensor_content = bytes(draw(st.lists(alphabet, min_size=size, max_size=size)))
    return proto


def parsed_by_tensorflow(proto: Message) -> np.ndarray[Any, Any] | None:
    try:
        parsed = tf.io.parse_tensor(proto.SerializeToString(), proto.dtype).numpy()
    except tf.errors.InvalidArgumentError:
        return None
    # A scalar string comes as bytes, not as an array.
    return np.asarray(parsed, object if proto.dtype == dtypes.STRING else None)


def same(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> bool:
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return False
    # As bytes: NaN patterns count too.
    return ours.tolist() == theirs.tolist() if ours.dtype == object else ours.tobytes() == theirs.tobytes()


@settings(max_examples=300)
@given(protos())
def test_to_numpy_reads_what_tensorflow_reads(proto: Message) -> None:
    theirs = parsed_by_tensorflow(proto)
    try:
        ours = to_numpy(proto)
    except InvalidArgument:
        assert theirs is None
        return

    assert theirs is not None
    assert same(ours, theirs)


@settings(max_examples=100)
@given(st.data())
def test_a_joined_request_is_tensorflows_concatenation(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    row_dims = data.draw(st.lists(st.integers(1, 3), max_size=2))
    requests = []
    for proto in data.draw(st.lists(protos(dtype, row_dims), min_size=1, max_size=4)):
        request = PredictRequest()
        request.inputs["x"].CopyFrom(proto)
        requests.append(request)
    assert all(measure(request)[0] for request in requests)

    joined = parsed_by_tensorflow(join(requests).inputs["x"])

    parts = [parsed_by_tensorflow(request.inputs["x"]) for request in requests]
    assert joined is not None
    assert same(joined, np.concatenate([part for part in parts if part is not None]))


@settings(max_examples=100)
@given(protos(), st.booleans())
def test_tensorflow_reads_what_from_numpy_writes(proto: Message, as_content: bool) -> None:
    theirs = parsed_by_tensorflow(proto)
    if theirs is None or theirs.dtype == object:
        return

    back = parsed_by_tensorflow(from_numpy(theirs, as_content=as_content))

    assert back is not None
    assert same(back, theirs)


def test_strings_in_tensor_content() -> None:
    proto = TensorProto(dtype=dtypes.STRING, tensor_content=b"\x01\x82\x01a" + b"b" * 130)
    proto.tensor_shape.dim.add(size=2)

    theirs = parsed_by_tensorflow(proto)

    assert theirs is not None
    assert to_numpy(proto).tolist() == theirs.tolist() == [b"a", b"b" * 130]
