"""Tensors to numpy and back: TensorFlow's rules by hand, and shapes that lie."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from serving import dtypes
from serving.arrays import from_numpy, to_numpy
from serving.errors import InvalidArgument
from serving.wire import Message, TensorProto


def tensor(dtype: int, dims: list[int], **fields: Any) -> Message:
    proto = TensorProto(dtype=dtype, **fields)
    for size in dims:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        (tensor(dtypes.FLOAT, [2, 2], float_val=[1, 2]), [[1, 2], [2, 2]]),
        (tensor(dtypes.FLOAT, [2]), [0, 0]),
        (tensor(dtypes.FLOAT, [2], double_val=[1, 2]), [0, 0]),
        (tensor(dtypes.FLOAT, [1], float_val=[1, 2]), [1]),
        (tensor(dtypes.FLOAT, [1], float_val=[5], tensor_content=b"\x00\x00\x80\x3f"), [1]),
        (tensor(dtypes.FLOAT, [0], tensor_content=b"1234"), []),
        (tensor(dtypes.UINT8, [2], int_val=[300, -1]), [44, 255]),
        (tensor(dtypes.INT8, [1], int_val=[200]), [-56]),
        (tensor(dtypes.BOOL, [3], tensor_content=b"\x00\x01\x02"), [False, True, True]),
        (tensor(dtypes.HALF, [1], half_val=[0x3E00]), [1.5]),
        (tensor(dtypes.COMPLEX64, [2], scomplex_val=[1, 2, 3]), [1 + 2j, 1 + 2j]),
        (tensor(dtypes.STRING, [3], string_val=[b"a", b"\xff"]), [b"a", b"\xff", b"\xff"]),
        (tensor(dtypes.STRING, [2], tensor_content=b"\x01\x02abb"), [b"a", b"bb"]),
        (tensor(dtypes.STRING, [0], tensor_content=b"abc"), []),
    ],
)
def test_reads_as_tensorflow_does(proto: Message, expected: list[Any]) -> None:
    assert to_numpy(proto).tolist() == expected


def test_a_shape_left_out_is_a_scalar() -> None:
    array = to_numpy(TensorProto(dtype=dtypes.INT64, int64_val=[7]))

    assert array.shape == ()
    assert array == 7


BROKEN = {
    "unknown rank": TensorProto(dtype=dtypes.FLOAT, tensor_shape={"unknown_rank": True}),
    "negative dim": tensor(dtypes.FLOAT, [-1], float_val=[1]),
    "two negative dims": tensor(dtypes.FLOAT, [-1, -1], float_val=[1]),
    "rank 65": tensor(dtypes.FLOAT, [1] * 65, float_val=[1]),
    "no type": tensor(0, [1]),
    "a resource": tensor(20, [1]),
    "content too short": tensor(dtypes.FLOAT, [2], tensor_content=b"1234"),
    "content too long": tensor(dtypes.FLOAT, [1], tensor_content=b"12345678"),
    "elements overflow": tensor(dtypes.FLOAT, [2**32, 2**32], float_val=[1]),
    "elements wrap to one": tensor(dtypes.FLOAT, [2**32 + 1, 2**32 + 1], tensor_content=b"1234"),
    "bytes overflow": tensor(dtypes.COMPLEX128, [2**60], dcomplex_val=[1, 1]),
    "zero hides an overflow": tensor(dtypes.FLOAT, [2**62, 2**62, 0]),
    "2^40 elements of one value": tensor(dtypes.FLOAT, [2**40], float_val=[1]),
    "2^40 elements of no value": tensor(dtypes.INT64, [2**40]),
    "2^40 strings of one": tensor(dtypes.STRING, [2**40], string_val=[b"a"]),
    "2^40 strings in a few bytes": tensor(dtypes.STRING, [2**40], tensor_content=b"\x01a"),
    "strings cut short": tensor(dtypes.STRING, [2], tensor_content=b"\x01\x02ab"),
    "strings with a rest": tensor(dtypes.STRING, [1], tensor_content=b"\x01ab"),
    "lengths cut short": tensor(dtypes.STRING, [2], tensor_content=b"\x80"),
    "a length of 36 bits": tensor(dtypes.STRING, [1], tensor_content=b"\x80\x80\x80\x80\x80\x01"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_does_not_fit_its_shape_is_refused_without_allocating(case: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidArgument, match=r"^tensor parsing error: "):
            to_numpy(BROKEN[case])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 1_000_000


def test_a_filled_constant_is_legal_up_to_a_mebibyte() -> None:
    assert to_numpy(tensor(dtypes.FLOAT, [512, 512], float_val=[1])).sum() == 512 * 512
    with pytest.raises(InvalidArgument, match="wants 1050624 bytes"):
        to_numpy(tensor(dtypes.FLOAT, [513, 512], float_val=[1]))


ARRAYS = st_numpy.arrays(
    dtype=st.one_of(
        st_numpy.boolean_dtypes(), st_numpy.integer_dtypes(endianness="?"), st_numpy.unsigned_integer_dtypes(endianness="?"),
        st_numpy.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
        st_numpy.complex_number_dtypes(endianness="?", sizes=(64, 128)),
    ),
    shape=st_numpy.array_shapes(min_dims=0, min_side=0, max_side=4),
)  # fmt: skip


@given(ARRAYS, st.booleans())
def test_arrays_survive(array: np.ndarray[Any, Any], as_content: bool) -> None:
    proto = from_numpy(array, as_content=as_content)

    back = to_numpy(TensorProto.FromString(proto.SerializeToString()))

    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype.newbyteorder("=")
    assert bool(proto.tensor_content) == (as_content and array.size > 0)


def test_a_view_is_written_in_its_own_order() -> None:
    view = np.arange(6, dtype=np.float32).reshape(2, 3).T

    assert list(from_numpy(view).float_val) == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize(
    "array",
    [np.array([b"a", "\u00e9"], object), np.array([b"a", b"\xc3\xa9"]), np.array(["a", "\u00e9"])],
    ids=["object", "bytes", "str"],
)
def test_strings_go_to_string_val(array: np.ndarray[Any, Any]) -> None:
    proto = from_numpy(array, as_content=True)

    assert proto.dtype == dtypes.STRING
    assert list(proto.string_val) == [b"a", b"\xc3\xa9"]
    assert to_numpy(proto).tolist() == [b"a", b"\xc3\xa9"]


@pytest.mark.parametrize("array", [np.array([object()]), np.array(["2027-01-01"], "M8[D]"), np.zeros(1, np.longdouble)])
def test_what_tensorflow_has_no_type_for_is_refused(array: np.ndarray[Any, Any]) -> None:
    with pytest.raises(InvalidArgument):
        from_numpy(array)


def test_an_empty_array_has_no_values() -> None:
    proto = from_numpy(np.zeros((0, 3), np.float32))

    assert [dim.size for dim in proto.tensor_shape.dim] == [0, 3]
    assert not proto.float_val
