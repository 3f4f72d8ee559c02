"""What TF Serving says about JSON that is not the tensor its signature wants."""

import pytest

from serving import dtypes, wire
from serving.errors import InvalidArgument
from serving.rest_complaints import complain_of_rows, complain_of_tensor
from serving.rest_decode import decode_predict, input_types


def complaint(body: str, **types: int) -> str:
    signature = wire.SignatureDef()
    for name, dtype in types.items():
        signature.inputs[name].dtype = dtype
    with pytest.raises(InvalidArgument) as caught:
        decode_predict(body.encode(), input_types({"serving_default": signature}))
    return caught.value.message


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        ('"x"', dtypes.FLOAT, 'JSON Value: "x" Type: String is not of expected type: float'),
        ("true", dtypes.FLOAT, "JSON Value: true Type: True is not of expected type: float"),
        ("null", dtypes.DOUBLE, "JSON Value: null Type: Null is not of expected type: double"),
        ("1.0", dtypes.INT32, "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        ("2147483648", dtypes.INT32, "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
        ("-1", dtypes.UINT32, "JSON Value: -1 Type: Number is not of expected type: uint32"),
        ("9223372036854775808", dtypes.INT64, "JSON Value: 9223372036854775808 Type: Number is not of expected type: int64"),
        ("18446744073709551616", dtypes.UINT64, "JSON Value: 18446744073709551616 Type: Number is not of expected type: uint64"),
        ("1", dtypes.BOOL, "JSON Value: 1 Type: Number is not of expected type: bool"),
        ("1", dtypes.STRING, "JSON Value: 1 Type: Number is not of expected type: string"),
        ('{"b64": "aGk="}', dtypes.INT8, 'JSON Value: {\n    "b64": "aGk="\n} Type: Object is not of expected type: int8'),
        ('{"b64": "?"}', dtypes.STRING, "Unable to base64 decode"),
        ('["\\ud800"]', dtypes.STRING, "JSON Parse error: The surrogate pair in string is invalid."),
        ("9" * 309, dtypes.FLOAT, "JSON Parse error: Number too big to be stored in double."),
        ("[1, [2]]", dtypes.FLOAT, "Encountered list at unexpected level: 1 expected < 1"),
        ("[[1], 2]", dtypes.FLOAT, "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ("[[1], [2, 3]]", dtypes.FLOAT, "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
    ],
)  # fmt: skip
def test_one_tensor(value: str, dtype: int, message: str) -> None:
    assert complaint(f'{{"inputs": {value}}}', x=dtype) == message
    assert complaint(f'{{"instances": [{value}]}}', x=dtype) == (
        f"Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: {message}"
    )


def element(index: int, why: str) -> str:
    return f"Failed to process element: {index} of 'instances' list. {why}"


@pytest.mark.parametrize(
    ("instances", "message"),
    [
        ("[[1], [2, 3]]", element(1, "Error: INVALID_ARGUMENT: Expecting tensor size: 1 but got: 2")),
        ("[[1, 2], [[3], [4]]]", element(1, "Error: INVALID_ARGUMENT: Expecting shape [2] but got: [2,1]")),
        ("[[1], 2]", element(1, "Error: INVALID_ARGUMENT: Expecting shape [1] but got: []")),
        ('[1, {"x": 1}]', "Expecting value/list but got object at item 1 of input list"),
        ('[{"x": 1}, 1]', "Expecting object but got list at item 1 of input list"),
        ('[{"x": 1}, {}]', element(1, "JSON object: {} keys must be equal to: x")),
        (
            '[{"x": 1}, {"x": "a"}]',
            "Failed to process element: 1 key: x of 'instances' list. Error: INVALID_ARGUMENT: "
            'JSON Value: "a" Type: String is not of expected type: float',
        ),
        (
            '[{"z": 1}]',
            "Failed to process element: 0 key: z of 'instances' list. Error: INVALID_ARGUMENT: "
            "JSON object: does not have named input: z",
        ),
    ],
)
def test_rows_of_one_input(instances: str, message: str) -> None:
    assert complaint(f'{{"instances": {instances}}}', x=dtypes.FLOAT) == message


def test_rows_of_several_inputs() -> None:
    types = {"b": dtypes.FLOAT, "a": dtypes.FLOAT}

    assert complaint('{"instances": [1]}', **types) == (
        "instances is a plain list, but expecting list of objects as multiple input tensors required as per tensorinfo_map"
    )
    assert complaint('{"instances": [{"a": 1}]}', **types) == element(
        0, 'JSON object: {\n    "a": 1\n} keys must be equal to: a,b'
    )


def test_columns_of_several_inputs() -> None:
    types = {"b": dtypes.FLOAT, "a": dtypes.FLOAT}

    assert complaint('{"inputs": [1]}', **types) == (
        "inputs is a plain value/list, but expecting an object as multiple input tensors required as per tensorinfo_map"
    )
    assert complaint('{"inputs": {"a": 1}}', **types) == "Missing named input: b in 'inputs' object."


def test_a_value_with_nothing_wrong_is_refused_all_the_same() -> None:
    with pytest.raises(InvalidArgument, match="is no tensor of type float"):
        complain_of_tensor([1.0], dtypes.FLOAT)
    with pytest.raises(InvalidArgument, match="are no rows"):
        complain_of_rows([1.0], {"x": dtypes.FLOAT})
