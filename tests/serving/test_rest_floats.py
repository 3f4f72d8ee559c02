"""The short way for the commonest Predict bodies: where it leads to an end, the long way comes to the same one."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from serving import dtypes
from serving.arrays import from_numpy
from serving.decimals import FEW_MAX
from serving.errors import ServingError
from serving.rest_decode import decode_any, decode_predict
from serving.rest_floats import read_float_rows, write_float_rows
from tests.serving.test_json_text import one_by_one

Signatures = Mapping[str, Mapping[str, int]]
ONE_INPUT: Signatures = {
    "serving_default": {"x": dtypes.FLOAT},
    "other": {"y": dtypes.DOUBLE},
    "whole": {"x": dtypes.INT32},
}
MODELS: list[Signatures] = [
    ONE_INPUT, {"serving_default": {"x": dtypes.DOUBLE}, "other": {"x": dtypes.DOUBLE}},
    {"serving_default": {"x": dtypes.INT64}}, {"serving_default": {"a": dtypes.FLOAT, "b": dtypes.FLOAT}},
    {"serving_default": {}}, {"other": {"x": dtypes.FLOAT}},
]  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        '{"instances": [[1.5, 2], [-0.0, 1e300]]}',
        '{"instances":[1]}',
        ' {"signature_name" : "" , "instances" : [ [ [ 1 ] , [ 2 ] ] ]} ',
        '{"signature_name":"other","instances":[[1.5]]}',
        '{"instances":[[[[1]]]],"signature_name":"serving_default"}',
        '{"instances":[18446744073709551617,9007199254740993,-0]}',
    ],
)
def test_the_common_kind_takes_the_short_way(body: str) -> None:
    request = read_float_rows(body.encode(), ONE_INPUT)

    assert request is not None
    assert (request, True) == decode_any(body.encode(), ONE_INPUT)


@pytest.mark.parametrize(
    "body",
    [
        '{"inputs":[1]}', '{"instances":[]}', '{"instances":[[],[]]}', '{"instances":["1"]}', '{"instances":[true]}',
        '{"instances":[{"x":1}]}', '{"instances":[1,null]}', '{"instances":[1,[2]]}', '{"instances":[[1],[2,3]]}',
        '{"instances":[[1],2]}', '{"instances":[NaN]}', '{"instances":[1,Infinity]}', '{"instances":[1e400]}',
        '{"instances":[1]} {', '\ufeff{"instances":[1]}', '{"\\u0069nstances":[1]}', '{"instances":[1],"inputs":[1]}',
        '{"instances":[1],"instances":[]}', '{"instances":[1],"signature_name":"none"}', '{"instances":[[[[[1]]]]]}',
        '{"instances":[1],"signature_name":"whole"}', '{"signature_name":"whole","instances":[1]}', "[1]", "",
    ],
)  # fmt: skip
def test_any_other_kind_takes_the_long_way(body: str) -> None:
    assert read_float_rows(body.encode(), ONE_INPUT) is None


def test_other_inputs_take_the_long_way() -> None:
    assert all(read_float_rows(b'{"instances":[1]}', signatures) is None for signatures in MODELS[2:])


GOOD = st.floats(allow_nan=False, allow_infinity=False).map(repr) | st.integers().map(str)
BAD = st.sampled_from([
    "-0", "1e400", "1e39", "3.4028236e38", "1e-400", "9007199254740993", "18446744073709551616", "1" + "0" * 308,
    "1" + "0" * 309, "NaN", "-Inf", "Infinity", "true", "null", '"a"', '"1"', '{"b64":"aGk="}', '{"x":1}', "01", "1.",
    "[]", "", '"\udcff"', '"\\ud800"',
])  # fmt: skip
KEYS = st.sampled_from(
    [
        '"instances"',
        '"instances"',
        '"signature_name"',
        '"inputs"',
        '"\\u0069nstances"',
        '"signature\\u005fname"',
        '"z"',
        "z",
    ]
)
NAMES = st.sampled_from(
    ['""', '"serving_default"', '"other"', '"whole"', '"none"', '"\\u006fther"', "null", "1", '"\udcff"', '"\\ud800"']
)


@st.composite
def values(draw: st.DrawFn) -> str:
    """Numbers in lists, up to five deep; at times one is no number, or a list has another size."""
    leaf = draw(st.sampled_from([GOOD, GOOD, GOOD | BAD]))
    comma = draw(st.sampled_from([",", ", ", "\n,\t"]))
    text = draw(leaf)
    for _ in range(draw(st.sampled_from([0, 1, 1, 2, 2, 2, 3, 4, 5]))):
        siblings = draw(st.lists(st.just(text) | st.just(text) | BAD | leaf, max_size=1))
        text = f"[{comma.join([text] * draw(st.integers(1, 3)) + siblings)}]"
    return text


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Bodies with rows, beside other keys and doubled ones, before and after; some are broken."""
    space = draw(st.sampled_from(["", "", " ", "\r\n", "\v"]))
    members = [f'"instances"{space}:{space}{draw(values())}']
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        member = f"{draw(KEYS)}{space}:{draw(NAMES | NAMES | values())}"
        members.insert(draw(st.integers(0, len(members))), member)
    text = f"{space}{{{space}{f'{space},{space}'.join(members)}{space}}}"
    before = draw(st.sampled_from(["", "", "", "\ufeff", "x"]))
    after = draw(st.sampled_from(["", "", "", " ", " {", ","]))
    return f"{before}{text}{after}".encode("utf-8", "surrogateescape")


def outcome(decode: Any, body: bytes, signatures: Signatures) -> Any:
    """What comes of a body: the request as it is sent, or the error."""
    try:
        request, is_row = decode(body, signatures)
    except ServingError as error:
        return type(error), error.message
    return request.SerializeToString(deterministic=True), is_row


@settings(max_examples=300)
@given(bodies(), st.sampled_from([ONE_INPUT, ONE_INPUT, *MODELS]))
def test_requests_and_errors_are_those_of_the_long_way(body: bytes, signatures: Signatures) -> None:
    assert outcome(decode_predict, body, signatures) == outcome(decode_any, body, signatures)


def test_cut_bodies_have_the_errors_of_the_long_way() -> None:
    body = b'{"signature_name": "other", "instances": [[1.5, -2e3], [3, 0.25]], "inputs": {"y": [1]}}'
    for end in range(len(body)):
        assert outcome(decode_predict, body[:end], ONE_INPUT) == outcome(decode_any, body[:end], ONE_INPUT)


@given(
    st_numpy.arrays(st.sampled_from([np.float32, np.float64]), st_numpy.array_shapes(max_dims=2, max_side=7)),
    st.booleans(),
)
def test_rows_are_written_by_the_rule(array: np.ndarray[Any, Any], as_content: bool) -> None:
    is_single = array.dtype == np.float32
    rows = [
        one_by_one(row, is_single) if array.ndim == 1 else f"[{', '.join(one_by_one(one, is_single) for one in row)}]"
        for row in array.tolist()
    ]
    text = write_float_rows(from_numpy(array, as_content=as_content))

    assert text is None if array.size > FEW_MAX else text is not None
    assert text is None or text.decode() == f'{{\n    "predictions": [{", ".join(rows)}\n    ]\n}}'


@pytest.mark.parametrize(
    "shape", [(), (0, 2), (2, 0), (1, 1, 2), (-1, -2), (3, 1), (2,) * 65, (FEW_MAX + 1,)], ids=str
)  # fmt: skip
def test_other_shapes_take_the_long_way(shape: tuple[int, ...]) -> None:
    tensor = from_numpy(np.zeros(2, np.float32))
    tensor.tensor_shape.ClearField("dim")
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)

    assert write_float_rows(tensor) is None


def test_other_tensors_take_the_long_way() -> None:
    unknown = from_numpy(np.zeros(2, np.float32))
    unknown.tensor_shape.unknown_rank = True
    short_content = from_numpy(np.zeros(2, np.float32), as_content=True)
    short_content.tensor_content = short_content.tensor_content[:4]
    both = from_numpy(np.full(2, math.pi, np.float64), as_content=True)
    both.double_val.append(1.0)

    assert write_float_rows(unknown) is None
    assert write_float_rows(short_content) is None
    assert write_float_rows(from_numpy(np.zeros(2, np.int32))) is None
    # The content counts, as everywhere.
    assert write_float_rows(both) is not None
    assert b"3.1415926535897931, 3.1415926535897931" in (write_float_rows(both) or b"")
