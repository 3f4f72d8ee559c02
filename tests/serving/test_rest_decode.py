"""Predict bodies: TF Serving's examples, its types, and rows and columns of any shape."""

import base64
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from serving import dtypes, wire
from serving.arrays import to_numpy
from serving.errors import InvalidArgument, ServingError, Unimplemented
from serving.rest_decode import decode_predict, input_types


def signatures(**types: int) -> dict[str, dict[str, int]]:
    signature = wire.SignatureDef()
    for name, dtype in types.items():
        signature.inputs[name].dtype = dtype
    return input_types({"serving_default": signature})


HALF_PLUS_TWO = signatures(x=dtypes.FLOAT)


def decoded(body: str | bytes, **types: int) -> dict[str, Any]:
    request, _ = decode_predict(body.encode() if isinstance(body, str) else body, signatures(**types))
    return {name: to_numpy(tensor).tolist() for name, tensor in request.inputs.items()}


def test_rows() -> None:
    request, is_row = decode_predict(b'{"instances":[2.0,3.0,4.0]}', HALF_PLUS_TWO)

    assert is_row
    assert request.inputs["x"].dtype == dtypes.FLOAT
    assert to_numpy(request.inputs["x"]).tolist() == [2.0, 3.0, 4.0]
    assert request.model_spec.signature_name == ""


def test_columns() -> None:
    request, is_row = decode_predict(b'{"inputs":[2.0,3.0,4.0]}', HALF_PLUS_TWO)

    assert not is_row
    assert to_numpy(request.inputs["x"]).tolist() == [2.0, 3.0, 4.0]


def test_rows_of_rows() -> None:
    assert decoded('{"instances":[[1.0,2.0],[3.0,4.0]]}', x=dtypes.FLOAT) == {"x": [[1, 2], [3, 4]]}


def test_named_rows_and_columns() -> None:
    types = {"a": dtypes.INT32, "b": dtypes.STRING}
    both = {"a": [1, 2], "b": [b"x", b"hi"]}

    assert decoded('{"instances":[{"a":1,"b":"x"},{"b":{"b64":"aGk="},"a":2}]}', **types) == both
    assert decoded('{"inputs":{"a":[1,2],"b":["x",{"b64":"aGk="}],"ignored":3}}', **types) == both


def test_one_named_input() -> None:
    assert decoded('{"instances":[{"x":[1]},{"x":[2]}]}', x=dtypes.FLOAT) == {"x": [[1], [2]]}
    assert decoded('{"inputs":{"x":7}}', x=dtypes.INT64) == {"x": 7}


def test_bytes_as_rows() -> None:
    assert decoded('{"instances":[{"b64":"aGk="},"x"]}', x=dtypes.STRING) == {"x": [b"hi", b"x"]}
    assert decoded('{"inputs":{"b64":"aGk="}}', x=dtypes.STRING) == {"x": b"hi"}


def test_named_signature() -> None:
    known = {"custom": signatures(z=dtypes.INT32)["serving_default"], **HALF_PLUS_TWO}

    request, _ = decode_predict(b'{"signature_name":"custom","instances":[1]}', known)

    assert request.model_spec.signature_name == "custom"
    assert list(request.inputs) == ["z"]


def test_liberties_of_rapidjson() -> None:
    values = decoded('{"instances":[NaN,Infinity,-Infinity,1e300,16777217]} trailing {', x=dtypes.FLOAT)["x"]

    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf, math.inf, 16777216.0]


def test_strings_that_are_no_utf8_arrive_as_they_were_sent() -> None:
    assert decoded(b'{"instances":["\xff\xc3\xa9"]}', x=dtypes.STRING) == {"x": [b"\xff\xc3\xa9"]}


def test_narrow_integers_are_cast() -> None:
    assert decoded('{"instances":[300,-1]}', x=dtypes.UINT8) == {"x": [44, 255]}
    assert decoded('{"instances":[200]}', x=dtypes.INT8) == {"x": [-56]}


def test_empty_rows() -> None:
    request, _ = decode_predict(b'{"instances":[[],[]]}', HALF_PLUS_TWO)

    assert to_numpy(request.inputs["x"]).shape == (2, 0)


def test_rank_254_is_a_tensor_and_255_is_not() -> None:
    request, _ = decode_predict(b'{"inputs":' + b"[" * 254 + b"1" + b"]" * 254 + b"}", HALF_PLUS_TWO)

    assert len(request.inputs["x"].tensor_shape.dim) == 254
    with pytest.raises(InvalidArgument, match="254 dimensions"):
        decode_predict(b'{"inputs":' + b"[" * 255 + b"1" + b"]" * 255 + b"}", HALF_PLUS_TWO)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "JSON Parse error: The document is empty"),
        ("[1]", "JSON Value: [1] Is not object"),
        ("{}", "Missing 'inputs' or 'instances' key"),
        (
            '{"signature_name":100,"instances":[1]}',
            'JSON Value: {\n    "signature_name": 100,\n    "instances": [1]\n}'
            " not formatted correctly. 'signature_name' key must be a string value.",
        ),
        ('{"signature_name":"zzz"}', 'Serving signature name: "zzz" not found in signature def'),
        (
            '{"instances":[1],"inputs":[1]}',
            'JSON Value: {\n    "instances": [1],\n    "inputs": [1]\n}'
            " Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
        ),
        ('{"instances":1}', "JSON Value: {\n    \"instances\": 1\n} Expecting 'instances' to be an list/array"),
        ('{"instances":[]}', "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array"),
    ],
)
def test_bodies_that_are_no_predict_request(body: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        decode_predict(body.encode(), HALF_PLUS_TWO)

    assert caught.value.message == message


def test_without_signatures_the_default_is_missed() -> None:
    with pytest.raises(InvalidArgument, match=r'^Serving signature name: "serving_default" not found'):
        decode_predict(b'{"instances":[1]}', {})


def test_a_signature_without_inputs() -> None:
    with pytest.raises(InvalidArgument, match=r"^Failed to get input map for signature: DEFAULT$"):
        decode_predict(b'{"instances":[1]}', signatures())


@pytest.mark.parametrize("dtype", [dtypes.HALF, dtypes.BFLOAT16, dtypes.UINT16, dtypes.COMPLEX64])
def test_types_without_json(dtype: int) -> None:
    with pytest.raises(Unimplemented, match=r"^Conversion of JSON Value: 1 to type: "):
        decode_predict(b'{"inputs":[1]}', signatures(x=dtype))
    with pytest.raises(InvalidArgument, match="Error: UNIMPLEMENTED: Conversion of JSON Value: 1 to type: "):
        decode_predict(b'{"instances":[1]}', signatures(x=dtype))


NUMPY = {
    dtypes.FLOAT: np.float32, dtypes.DOUBLE: np.float64, dtypes.INT32: np.int32, dtypes.UINT8: np.uint8,
    dtypes.INT16: np.int16, dtypes.INT8: np.int8, dtypes.INT64: np.int64, dtypes.BOOL: np.bool_,
    dtypes.UINT32: np.uint32, dtypes.UINT64: np.uint64,
}  # fmt: skip


@given(st.data())
def test_arrays_of_all_types_arrive(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(list(NUMPY)))
    shape = data.draw(st_numpy.array_shapes(max_dims=4, max_side=3))
    array = data.draw(st_numpy.arrays(NUMPY[dtype], shape))
    for key in ("instances", "inputs"):
        request, is_row = decode_predict(json.dumps({key: array.tolist()}).encode(), signatures(x=dtype))

        assert is_row == (key == "instances")
        np.testing.assert_array_equal(to_numpy(request.inputs["x"]), array)
        assert to_numpy(request.inputs["x"]).dtype == array.dtype


@given(st.lists(st.tuples(st.binary(), st.text()), min_size=1))
def test_named_rows_are_stacked(rows: list[tuple[bytes, str]]) -> None:
    instances = [{"a": {"b64": base64.b64encode(raw).decode()}, "b": [text]} for raw, text in rows]

    values = decoded(json.dumps({"instances": instances}), a=dtypes.STRING, b=dtypes.STRING)

    assert values == {"a": [raw for raw, _ in rows], "b": [[text.encode()] for _, text in rows]}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([2**31, -(2**63), 2**64, 10**308])
    | st.floats() | st.text(max_size=2) | st.just({"b64": "aGk="}) | st.just({"b64": "?"}),
    lambda children: st.lists(children, max_size=3)
    | st.dictionaries(st.sampled_from(["a", "b"]), children, max_size=2),
)  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(["instances", "inputs", "signature_name"]), ANYTHING | st.lists(ANYTHING, max_size=3)),
    st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from([*NUMPY, dtypes.STRING, dtypes.HALF])),
)  # fmt: skip
def test_whatever_comes_is_tensors_or_a_named_error(document: dict[str, Any], types: dict[str, int]) -> None:
    try:
        request, _ = decode_predict(json.dumps(document).encode(), signatures(**types))
    except ServingError as error:
        message = error.message
    else:
        message = ""
        assert {name: tensor.dtype for name, tensor in request.inputs.items()} == types
        for tensor in request.inputs.values():
            to_numpy(tensor)

    # These two are the last resort, when the quick reader refuses what the slow one finds nothing wrong with.
    assert "is no tensor of type" not in message
    assert "are no rows of" not in message
