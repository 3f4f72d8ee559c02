"""Predict answers as JSON: by hand, and against a plain rewrite of RapidJSON's PrettyWriter."""

import base64
import json
import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from serving import dtypes
from serving.arrays import from_numpy
from serving.decimals import decimals
from serving.errors import InternalError, InvalidArgument
from serving.rest_encode import encode_predict
from serving.wire import Message, PredictResponse


def response(**outputs: Any) -> Message:
    message = PredictResponse()
    for name, value in outputs.items():
        message.outputs[name].CopyFrom(from_numpy(np.asarray(value)))
    return message


FLOATS = np.array([2.5, 3.0, 3.5], np.float32)


def test_one_output_in_rows() -> None:
    assert encode_predict(response(y=FLOATS), is_row=True) == b'{\n    "predictions": [2.5, 3.0, 3.5\n    ]\n}'


def test_one_output_in_columns() -> None:
    text = b'{\n    "outputs": [\n        2.5,\n        3.0,\n        3.5\n    ]\n}'

    assert encode_predict(response(y=FLOATS), is_row=False) == text


def test_rows_of_rows() -> None:
    outputs = response(y=np.array([[2.5, 3.0], [3.5, 4.0]], np.float32))

    assert encode_predict(outputs, is_row=True) == b'{\n    "predictions": [[2.5, 3.0], [3.5, 4.0]\n    ]\n}'


def test_several_outputs_in_rows() -> None:
    outputs = response(b=np.array([[1], [2]], np.int64), a=np.array([True, False]))

    assert encode_predict(outputs, is_row=True) == (
        b'{\n    "predictions": [\n        {\n            "a": true,\n            "b": [1]\n        },\n'
        b'        {\n            "a": false,\n            "b": [2]\n        }\n    ]\n}'
    )


def test_several_outputs_in_columns() -> None:
    outputs = response(b=np.array([1], np.int64), a=np.float32(0.2))

    assert encode_predict(outputs, is_row=False) == (
        b'{\n    "outputs": {\n        "a": 0.2,\n        "b": [\n            1\n        ]\n    }\n}'
    )


def test_bytes_and_strings() -> None:
    outputs = response(s_bytes=np.array([b"hi"], object), s=np.array([b'"\xc3\xa9\n'], object))

    assert json.loads(encode_predict(outputs, is_row=True)) == {
        "predictions": [{"s_bytes": {"b64": "aGk="}, "s": '"\u00e9\n'}]
    }


def test_only_strings_are_bytes() -> None:
    assert json.loads(encode_predict(response(n_bytes=np.array([7], np.int32)), is_row=True)) == {"predictions": [7]}


def test_a_string_that_is_no_utf8_goes_out_as_it_is() -> None:
    text = encode_predict(response(s=np.array([b"\xff\x00"], object)), is_row=False)

    assert text == b'{\n    "outputs": [\n        "\xff\\u0000"\n    ]\n}'


def test_contents_are_read_too() -> None:
    message = PredictResponse()
    message.outputs["y"].CopyFrom(from_numpy(FLOATS, as_content=True))

    assert encode_predict(message, is_row=True) == encode_predict(response(y=FLOATS), is_row=True)


def test_no_rows() -> None:
    assert json.loads(encode_predict(response(y=np.zeros((0, 2), np.float32)), is_row=True)) == {"predictions": []}


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (response(), "Cannot convert empty tensor map to JSON"),
        (response(y=np.float32(1)), "Tensor name: y has no shape information "),
        (response(a=np.zeros(3), y=np.zeros(2)), "Tensor name: y has inconsistent batch size: 2 expecting: 3"),
        (response(y=np.zeros(1, np.float16)), "Failed to write JSON value for tensor type: half"),
        (response(y=np.zeros(1, np.complex64)), "Failed to write JSON value for tensor type: complex64"),
    ],
)
def test_what_has_no_row_format(outputs: Message, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        encode_predict(outputs, is_row=True)

    assert caught.value.message == message


def test_an_output_that_does_not_fit_its_shape_is_the_backends_fault() -> None:
    message = response(y=FLOATS)
    message.outputs["y"].tensor_content = b"123"

    with pytest.raises(InternalError, match='output "y": tensor parsing error'):
        encode_predict(message, is_row=True)


class PrettyWriter:
    """RapidJSON's prettywriter.h, event by event."""

    def __init__(self) -> None:
        self.text = ""
        self.is_single_line = False
        self.levels: list[list[Any]] = []

    def indent(self) -> str:
        return "    " * len(self.levels)

    def prefix(self) -> None:
        if not self.levels:
            return
        is_array, count = self.levels[-1]
        if is_array:
            self.text += "," * (count > 0)
            if self.is_single_line:
                self.text += " " * (count > 0)
            else:
                self.text += "\n" + self.indent()
        elif count % 2:
            self.text += ": "
        else:
            self.text += "," * (count > 0) + "\n" + self.indent()
        self.levels[-1][1] += 1

    def value(self, text: str) -> None:
        self.prefix()
        self.text += text

    def start(self, bracket: str) -> None:
        self.value(bracket)
        self.levels.append([bracket == "[", 0])

    def end(self, bracket: str) -> None:
        is_array, count = self.levels.pop()
        if count and not (is_array and self.is_single_line):
            self.text += "\n" + self.indent()
        self.text += bracket


def element_texts(name: str, array: np.ndarray[Any, Any]) -> Iterator[str]:
    if array.dtype == object:
        return iter([json.dumps(value.decode(), ensure_ascii=False) for value in array.ravel()])
    if array.dtype == bool:
        return iter([str(value).lower() for value in array.ravel()])
    return iter(decimals(array.ravel()) if array.dtype.kind == "f" else [str(value) for value in array.ravel()])


def write_values(writer: PrettyWriter, name: str, shape: tuple[int, ...], texts: Iterator[str]) -> None:
    """AddTensorValues."""
    if not shape:
        text = next(texts)
        if not name.endswith("_bytes"):
            writer.value(text)
            return
        writer.start("{")
        writer.value('"b64"')
        writer.value(f'"{base64.b64encode(json.loads(text).encode()).decode()}"')
        writer.end("}")
        return
    writer.start("[")
    for _ in range(shape[0]):
        write_values(writer, name, shape[1:], texts)
    writer.end("]")


def written(outputs: dict[str, np.ndarray[Any, Any]], is_row: bool) -> str:
    """MakeRowFormatJsonFromTensors and MakeColumnarFormatJsonFromTensors."""
    writer = PrettyWriter()
    texts = {name: element_texts(name, array) for name, array in outputs.items()}
    are_named = len(outputs) > 1
    writer.start("{")
    writer.value('"predictions"' if is_row else '"outputs"')
    if is_row:
        writer.start("[")
    for _ in range(next(iter(outputs.values())).shape[0] if is_row else 1):
        if are_named:
            writer.start("{")
        writer.is_single_line = is_row
        for name, array in outputs.items():
            if are_named:
                writer.value(json.dumps(name))
            write_values(writer, name, array.shape[1:] if is_row else array.shape, texts[name])
        writer.is_single_line = False
        if are_named:
            writer.end("}")
    if is_row:
        writer.end("]")
    writer.end("}")
    return writer.text


@st.composite
def some_outputs(draw: st.DrawFn) -> dict[str, np.ndarray[Any, Any]]:
    """1 to 3 outputs of one dim 0, 0 to 3 rows of any shape and type."""
    count = draw(st.integers(0, 3))
    outputs = {}
    for name in draw(st.lists(st.sampled_from(["a", "b", "c_bytes"]), min_size=1, unique=True)):
        shape = (count, *draw(st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)))
        if name.endswith("_bytes"):
            size = math.prod(shape)
            array = np.empty(size, object)
            array[:] = [text.encode() for text in draw(st.lists(st.text(max_size=3), min_size=size, max_size=size))]
            outputs[name] = array.reshape(shape)
        else:
            dtype = draw(st.sampled_from([np.float32, np.float64, np.int8, np.uint64, np.bool_]))
            outputs[name] = draw(st_numpy.arrays(dtype, shape))
    return dict(sorted(outputs.items()))


@given(some_outputs(), st.booleans())
def test_the_layout_is_rapidjsons(outputs: dict[str, np.ndarray[Any, Any]], is_row: bool) -> None:
    assert encode_predict(response(**outputs), is_row=is_row).decode() == written(outputs, is_row)


def test_rows_are_read_back_by_any_json_parser() -> None:
    rows = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7
    values = json.loads(encode_predict(response(y=rows), is_row=True))["predictions"]

    np.testing.assert_array_equal(np.float32(values), rows)
    assert list(islice(element_texts("y", rows), 2)) == ["0.0", "0.142857149"]
    assert dtypes.name(response(y=rows).outputs["y"].dtype) == "float"
