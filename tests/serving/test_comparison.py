"""Two answers agree where their classes, numbers and strings do, and what can't be compared is said, output by output."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serving import wire
from serving.arrays import from_numpy
from serving.comparison import FAULTS, agreement, compare, compare_arrays

TOLERANCE = 0.01


def response(**outputs: Any) -> wire.Message:
    made = wire.PredictResponse()
    for name, value in outputs.items():
        made.outputs[name].CopyFrom(from_numpy(np.asarray(value)))
    return made


def floats(*values: Any) -> Any:
    return np.array(values, np.float32)


def test_scores_agree_where_the_highest_class_is_the_same() -> None:
    first = response(scores=floats([0.1, 0.9], [0.8, 0.2], [0.6, 0.4]))
    second = response(scores=floats([0.3, 0.7], [0.4, 0.6], [0.7, 0.3]))

    (found,) = compare(first, second, TOLERANCE).values()

    assert found.agreement == pytest.approx(2 / 3)
    assert found.max_abs == pytest.approx(0.4)
    assert found.mean_abs == pytest.approx((0.2 + 0.4 + 0.1) / 3)
    assert found.max_relative == pytest.approx(2 / 3)
    assert (found.fault, found.not_finite) == ("", 0)


def test_numbers_that_are_no_classes_agree_within_the_tolerance() -> None:
    found = compare_arrays(floats(100.0, 100.0, 0.0), floats(100.9, 102.0, 0.0), TOLERANCE)

    assert found.agreement == pytest.approx(2 / 3)
    assert found.max_abs == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("first", "second", "share"),
    [
        (np.array([1, 2, 3]), np.array([1, 2, 4]), 2 / 3),
        # Beyond 2^53 doubles can't tell these apart.
        (np.array([2**62], np.int64), np.array([2**62 + 1], np.int64), 0.0),
        (np.array([b"a", b"b"], object), np.array([b"a", b"c"], object), 0.5),
        (np.array([True, False]), np.array([True, True]), 0.5),
        (np.array([1 + 1j], np.complex64), np.array([1 + 1.001j], np.complex64), 1.0),
        (np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), 1.0),
    ],
)
def test_other_types_must_be_equal(first: Any, second: Any, share: float) -> None:
    assert compare_arrays(first, second, TOLERANCE).agreement == pytest.approx(share)


def test_nan_agrees_with_nan_alone() -> None:
    nan, inf = float("nan"), float("inf")
    found = compare_arrays(floats(nan, nan, inf, inf, 1.0), floats(nan, 1.0, inf, -inf, 1.0), TOLERANCE)

    assert found.agreement == pytest.approx(3 / 5)
    assert found.not_finite == 2
    assert (found.max_abs, found.mean_abs) == (0.0, 0.0)


def test_row_with_nan_has_no_highest_class() -> None:
    nan = float("nan")
    rows = floats([nan, 0.2], [nan, 0.2]), floats([nan, 0.2], [0.9, 0.2])

    assert compare_arrays(*rows, TOLERANCE).agreement == 0.5


@pytest.mark.parametrize(
    ("first", "second", "fault"),
    [
        (response(a=floats(1)), response(), "missing"),
        (response(), response(a=floats(1)), "extra"),
        (response(a=floats(1)), response(a=np.array([1.0])), "dtype"),
        (response(a=floats(1)), response(a=floats(1, 2)), "shape"),
        (
            response(a=floats(1)),
            wire.PredictResponse(outputs={"a": {"dtype": 1, "tensor_content": b"1"}}),
            "unreadable",
        ),
    ],
)
def test_what_cant_be_compared_is_said_and_is_no_agreement(first: Any, second: Any, fault: str) -> None:
    found = compare(first, second, TOLERANCE)

    assert (found["a"].fault, found["a"].agreement) == (fault, 0.0)
    assert fault in FAULTS
    assert agreement(found) == 0.0
    # Looking does not make outputs.
    assert (len(first.outputs), len(second.outputs)) == (int(fault != "extra"), int(fault != "missing"))


def test_answers_agree_as_far_as_all_their_outputs_do() -> None:
    found = compare(response(a=floats(1, 2), b=floats(1)), response(a=floats(1, 9), b=floats(1)), TOLERANCE)

    assert agreement(found) == 0.5
    assert agreement({}) == 1.0


any_array = arrays.arrays(
    st.sampled_from([np.float16, np.float32, np.float64, np.int32, np.uint64, np.complex64, np.bool_]),
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


@settings(deadline=None)
@given(any_array)
def test_anything_agrees_with_itself(array: Any) -> None:
    (found,) = compare(response(a=array), response(a=array), 0.0).values()

    assert (found.agreement, found.fault, found.not_finite) == (1.0, "", 0)
    assert found.max_abs in (None, 0.0)


@settings(deadline=None)
@given(any_array.flatmap(lambda one: st.tuples(st.just(one), arrays.arrays(one.dtype, one.shape))))
def test_difference_is_the_same_both_ways_and_within_its_bounds(pair: tuple[Any, Any]) -> None:
    first, second = (compare_arrays(*order, TOLERANCE) for order in (pair, pair[::-1]))

    assert first == second
    assert 0.0 <= first.agreement <= 1.0
    if first.max_abs is not None:
        assert 0.0 <= (first.mean_abs or 0.0) <= first.max_abs < float("inf")
        assert 0.0 <= (first.max_relative or 0.0) <= 2.0
    assert 0 <= first.not_finite <= pair[0].size
