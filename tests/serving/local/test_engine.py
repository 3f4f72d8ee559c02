"""The engine against real TensorFlow: answers, and TF Serving's errors word for word."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving import arrays, wire
from serving.errors import Code, ServingError
from serving.local.options import EngineOptions
from serving.local.signatures import Signature
from serving.local.versions import Engine
from tests.serving.local.saved_models import SavedModels

pytestmark = pytest.mark.timeout(120)


def asked(signature: str = "", wanted: tuple[str, ...] = (), **inputs: Any) -> wire.Message:
    """Make a PredictRequest of arrays."""
    request = wire.PredictRequest(output_filter=wanted)
    request.model_spec.signature_name = signature
    for name, values in inputs.items():
        request.inputs[name].CopyFrom(arrays.from_numpy(np.asarray(values)))
    return request


def floats(*values: float) -> np.ndarray[Any, Any]:
    return np.array(values, np.float32)


@pytest.fixture(scope="module")
def half(load: Callable[[str], Engine], saved_models: SavedModels) -> Engine:
    return load(str(saved_models.half / "123"))


@pytest.fixture(scope="module")
def odd(load: Callable[[str], Engine], saved_models: SavedModels) -> Engine:
    return load(str(saved_models.odd / "1"))


def test_half_plus_two_answers_in_float_val(half: Engine) -> None:
    response = half.predict(asked(x=floats(2).reshape(1, 1)))

    assert list(response.outputs) == ["y"]
    assert list(response.outputs["y"].float_val) == [3.0]
    assert [dim.size for dim in response.outputs["y"].tensor_shape.dim] == [1, 1]


@pytest.mark.parametrize("values", [floats(2, 4), floats(2), np.float32(2), np.ones((2, 3, 2), np.float32)])
def test_shapes_the_graph_can_take_are_taken_though_the_signature_says_otherwise(half: Engine, values: Any) -> None:
    response = half.predict(asked(x=values))

    np.testing.assert_array_equal(arrays.to_numpy(response.outputs["y"]), np.asarray(values) / 2 + 2)


def test_tensor_content_is_answered_when_asked_for(saved_models: SavedModels, load: Callable[[str], Engine]) -> None:
    from serving.local.engine import SavedModelEngine

    engine = SavedModelEngine(str(saved_models.half / "123"), EngineOptions(answers_as_content=True))

    tensor = engine.predict(asked(x=floats(2, 4))).outputs["y"]

    assert tensor.tensor_content == floats(3, 4).tobytes()
    assert not tensor.float_val
    engine.close()


def test_every_type_comes_back_as_it_went_in(odd: Engine) -> None:
    sent: dict[str, Any] = {
        "int32": np.array([1, -2], np.int32),
        "int64": np.array([1 << 40, -2], np.int64),
        "float64": np.array([0.1, 1e300]),
        "bool": np.array([True, False]),
        "uint8": np.array([0, 255], np.uint8),
        "float16": np.array([0.5, 3], np.float16),
    }
    request = asked("same", **sent)
    request.inputs["bfloat16"].dtype = 14
    request.inputs["bfloat16"].tensor_shape.dim.add(size=2)
    request.inputs["bfloat16"].half_val.extend([0x3F80, 0x4000])  # 1.0 and 2.0

    response = odd.predict(request)

    for name, values in sent.items():
        np.testing.assert_array_equal(arrays.to_numpy(response.outputs[f"{name}_out"]), values)
    assert list(response.outputs["bfloat16_out"].half_val) == [0x3F80, 0x4000]


def test_strings_come_back_as_bytes_scalars_too(odd: Engine) -> None:
    response = odd.predict(asked("upper", text=np.array([b"abc", b"\xff"], object)))

    assert list(response.outputs["upper"].string_val) == [b"ABC", b"\xff"]
    assert list(response.outputs["first"].string_val) == [b"ABC"]
    assert not response.outputs["first"].tensor_shape.dim


def test_output_filter_is_a_set(odd: Engine) -> None:
    inputs = {"a": floats(3), "b": floats(1)}

    one = odd.predict(asked("", ("difference",), **inputs))
    both = odd.predict(asked("", ("sum", "difference"), **inputs))

    assert {name: list(tensor.float_val) for name, tensor in one.outputs.items()} == {"difference": [2]}
    assert {name: list(tensor.float_val) for name, tensor in both.outputs.items()} == {"difference": [2], "sum": [4]}


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (asked("zzz"), Code.FAILED_PRECONDITION, 'Serving signature key "zzz" not found.'),
        (
            asked(x=floats(1), z=floats(1)),
            Code.INVALID_ARGUMENT,
            "input size does not match signature: 2!=1 len({x,z}) != len({x})."
            " Sent extra: {z}. Missing but required: {}.",
        ),
        (
            asked(),
            Code.INVALID_ARGUMENT,
            "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}.",
        ),
        (
            asked(z=floats(1)),
            Code.INVALID_ARGUMENT,
            "input tensor alias not found in signature: z. Inputs expected to be in the set {x}.",
        ),
        (
            asked(x=np.array([b"a"], object)),
            Code.INVALID_ARGUMENT,
            "Expects arg[0] to be float but string is provided",
        ),
        (
            asked("", ("q",), x=floats(1)),
            Code.INVALID_ARGUMENT,
            "output tensor alias not found in signature: q Outputs expected to be in the set {y}.",
        ),
        (asked("", ("y", "y"), x=floats(1)), Code.INVALID_ARGUMENT, "duplicate output tensor alias: y"),
    ],
    ids=lambda value: "" if isinstance(value, Code) else None,
)
def test_wrong_request_gets_tf_servings_error(half: Engine, request_: wire.Message, code: Code, message: str) -> None:
    with pytest.raises(ServingError) as raised:
        half.predict(request_)

    assert (raised.value.code, raised.value.message) == (code, message)


def test_tensor_that_can_not_be_read_is_named(half: Engine) -> None:
    request = asked(x=floats(1))
    request.inputs["x"].tensor_content = b"123"

    with pytest.raises(ServingError, match=r"^tensor parsing error: x$"):
        half.predict(request)


def test_error_in_the_graph_keeps_tensorflows_code_and_words(odd: Engine) -> None:
    with pytest.raises(ServingError, match="Incompatible shapes") as raised:
        odd.predict(asked(a=floats(1, 2), b=floats(1, 2, 3)))

    assert raised.value.code is Code.INVALID_ARGUMENT


def test_input_with_a_default_may_be_left_out() -> None:
    signature = wire.SignatureDef()
    signature.inputs["a"].dtype = signature.inputs["b"].dtype = 1
    signature.defaults["b"].CopyFrom(arrays.from_numpy(floats(7)))

    both = Signature.of(signature).feeds(asked(a=floats(1)).inputs)

    assert [array.tolist() for array in both] == [[1], [7]]
    with pytest.raises(ServingError, match=r"1!=2 len\(\{b\}\) != len\(\{a,b\}\)\. Sent extra: \{\}\. Missing .*\{a\}"):
        Signature.of(signature).feeds(asked(b=floats(1)).inputs)


def test_callables_are_bounded(odd: Engine) -> None:
    from serving.local import engine

    assert isinstance(odd, engine.SavedModelEngine)
    for number in range(3 * engine.CALLABLES_MAX):
        names = [
            name
            for bit, name in enumerate(["int32_out", "int64_out", "bool_out", "uint8_out", "float64_out"])
            if number >> bit & 1
        ]
        request = asked("same", tuple(names))
        for name, info in odd.signatures["same"].inputs.items():
            request.inputs[name].dtype = info.dtype
            request.inputs[name].tensor_shape.dim.add(size=1)
        odd.predict(request)

    assert len(odd._callables) == engine.CALLABLES_MAX


def test_without_tensorflows_fast_callables_it_still_answers(load: Callable[[str], Engine], half: Engine) -> None:
    from serving.local import engine

    assert isinstance(half, engine.SavedModelEngine)
    info = half.signatures["serving_default"]
    names = [info.inputs["x"].name], [info.outputs["y"].name]
    plain = engine.make_plain_callable(half._session, *names)

    assert plain(floats(2).reshape(1, 1))[0].tolist() == [[3.0]]
    with pytest.raises(ServingError, match="shape"):
        plain(floats(1, 2))


@pytest.mark.parametrize(
    ("version", "code", "message"),
    [
        ("1", Code.NOT_FOUND, "/nowhere; No such file or directory"),
        ("2", Code.NOT_FOUND, "Could not find SavedModel .pb or .pbtxt at supplied export directory path: "),
        ("3", Code.INVALID_ARGUMENT, "can't be loaded: Cannot parse file"),
    ],
)
def test_model_that_can_not_run_does_not_load(
    load: Callable[[str], Engine], saved_models: SavedModels, tmp_path: Path, version: str, code: Code, message: str
) -> None:
    path = saved_models.broken / version
    if version == "3":
        path = tmp_path
        (path / "saved_model.pb").write_bytes(b"no protobuf")

    with pytest.raises(ServingError) as raised:
        load(str(path))

    assert raised.value.code is code
    assert message in raised.value.message
