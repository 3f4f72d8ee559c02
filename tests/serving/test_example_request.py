"""Requests made up from a signature alone: the right types, shapes and bytes, or a reason why not."""

import re
from collections.abc import Sequence

import pytest

from serving import wire
from serving.calibrate import EXAMPLE_BYTES_MAX, example_request
from serving.errors import InvalidArgument
from serving.upstream import Servable

FLOAT, INT64, STRING, RESOURCE, VARIANT = 1, 9, 7, 20, 21
DIGITS = Servable("tfs-a", "digits", 7)


def signature(**inputs: tuple[int, Sequence[int] | None]) -> wire.Message:
    """A SignatureDef of inputs given as (dtype, shape); None for unknown rank."""
    result = wire.SignatureDef(method_name="tensorflow/serving/predict")
    for name, (dtype, shape) in inputs.items():
        result.inputs[name].name = f"{name}:0"
        result.inputs[name].dtype = dtype
        result.inputs[name].tensor_shape.unknown_rank = shape is None
        for size in shape or ():
            result.inputs[name].tensor_shape.dim.add(size=size)
    return result


PIXELS = signature(pixels=(FLOAT, (-1, 64)))


def test_an_example_has_the_rows_types_and_sizes_of_its_signature() -> None:
    described = signature(
        pixels=(FLOAT, (-1, 8, -1, 3)),
        ids=(INT64, None),
        words=(STRING, (-1, 2)),
        rate=(FLOAT, ()),
        table=(FLOAT, (5,)),
    )

    request = example_request(DIGITS, "serving_default", described, 4)

    shapes = {name: [dim.size for dim in tensor.tensor_shape.dim] for name, tensor in request.inputs.items()}
    assert shapes == {"pixels": [4, 8, 1, 3], "ids": [4], "words": [4, 2], "rate": [], "table": [5]}
    assert len(request.inputs["pixels"].tensor_content) == 4 * 8 * 3 * 4
    assert len(request.inputs["ids"].tensor_content) == 4 * 8
    assert list(request.inputs["words"].string_val) == [b""] * 8
    assert request.inputs["rate"].HasField("tensor_shape")
    assert (request.model_spec.name, request.model_spec.version.value) == ("digits", 7)
    assert request.model_spec.signature_name == "serving_default"


def test_an_example_for_the_latest_version_names_none() -> None:
    request = example_request(Servable("tfs-a", "digits", None), "serving_default", PIXELS, 1)

    assert not request.model_spec.HasField("version")


def test_an_input_with_a_default_is_left_to_it() -> None:
    described = signature(pixels=(FLOAT, (-1, 64)), top=(INT64, ()))
    described.defaults["top"].dtype = INT64

    assert list(example_request(DIGITS, "serving_default", described, 2).inputs) == ["pixels"]


def test_a_signature_of_fixed_rows_makes_examples_of_these_only() -> None:
    fixed = signature(pixels=(FLOAT, (8, 64)))

    assert example_request(DIGITS, "serving_default", fixed, 8).inputs["pixels"].tensor_shape.dim[0].size == 8
    with pytest.raises(InvalidArgument, match=r"fixes its rows at \[8\], not 1"):
        example_request(DIGITS, "serving_default", fixed, 1)


def test_a_type_that_can_not_be_made_up_is_named() -> None:
    with pytest.raises(InvalidArgument, match="input table"):
        example_request(DIGITS, "serving_default", signature(table=(RESOURCE, (-1,))), 1)


def test_an_example_beyond_the_message_limit_is_refused_before_it_is_made() -> None:
    huge = signature(pixels=(FLOAT, (-1, 1024, 1024, 3)))

    with pytest.raises(InvalidArgument, match=str(EXAMPLE_BYTES_MAX)):
        example_request(DIGITS, "serving_default", huge, 64)


def test_no_rows_make_no_example() -> None:
    with pytest.raises(InvalidArgument, match="at least one row"):
        example_request(DIGITS, "serving_default", PIXELS, 0)


def test_every_type_has_the_size_its_name_says() -> None:
    # INT16, COMPLEX64, QUINT8, BFLOAT16, FLOAT8_E5M2 …: the first number is the size in bits. Four names have none.
    bits = {"FLOAT": 32, "DOUBLE": 64, "HALF": 16, "BOOL": 8}
    types = wire.TensorProto.DESCRIPTOR.fields_by_name["dtype"].enum_type.values_by_number

    for number in (n for n in range(1, 26) if n not in (STRING, RESOURCE, VARIANT)):
        name = types[number].name.removeprefix("DT_")
        content = example_request(DIGITS, "s", signature(x=(number, (-1,))), 3).inputs["x"].tensor_content
        named = re.search(r"\d+", name)
        assert len(content) * 8 == 3 * (int(named.group()) if named else bits[name]), name
