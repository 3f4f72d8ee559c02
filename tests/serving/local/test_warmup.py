from collections.abc import Mapping
from typing import Any

import pytest

from serving import arrays, wire
from serving.errors import BackendError, Code, ServingError
from serving.local.warmup import request_for, try_out


def signature(*, outputs: int = 1, unknown_rank: bool = False, **inputs: tuple[int, list[int]]) -> wire.Message:
    """Make a SignatureDef of inputs given as (DataType, dims)."""
    result = wire.SignatureDef()
    for alias, (dtype, dims) in inputs.items():
        info = result.inputs[alias]
        info.name, info.dtype, info.tensor_shape.unknown_rank = f"{alias}:0", dtype, unknown_rank
        for size in dims:
            info.tensor_shape.dim.add(size=size)
    for number in range(outputs):
        result.outputs[f"y{number}"].name = "y:0"
    return result


class Model:
    """Answers each signature with the error given for it, None being success, and remembers what was asked."""

    def __init__(self, errors: Mapping[str, Code | None]) -> None:
        self.errors = errors
        self.signatures: Mapping[str, Any] = {name: signature(x=(1, [-1])) for name in errors}
        self.asked: list[str] = []

    def predict(self, request: wire.Message) -> wire.Message:
        name = request.model_spec.signature_name
        self.asked.append(name)
        code = self.errors[name]
        if code is not None:
            raise BackendError(code, f"{name} failed")
        return wire.PredictResponse()


def test_request_is_zeros_of_one_row() -> None:
    request = request_for("s", signature(x=(1, [-1, 28, 28]), ids=(9, []), text=(7, [-1, 2])))

    assert request is not None
    assert request.model_spec.signature_name == "s"
    shapes = {alias: arrays.to_numpy(tensor).shape for alias, tensor in request.inputs.items()}
    assert shapes == {"x": (1, 28, 28), "ids": (), "text": (1, 2)}
    assert not arrays.to_numpy(request.inputs["x"]).any()
    assert arrays.to_numpy(request.inputs["text"]).tolist() == [[b"", b""]]


@pytest.mark.parametrize(
    "definition",
    [
        signature(),
        signature(outputs=0, x=(1, [1])),
        signature(x=(20, [])),
        signature(x=(21, [])),
        signature(x=(0, [])),
        signature(unknown_rank=True, x=(1, [])),
        signature(x=(1, [1, 1 << 30])),
    ],
    ids=["no input", "no output", "resource", "variant", "no type", "unknown rank", "huge"],
)
def test_signature_that_says_too_little_is_not_tried(definition: wire.Message) -> None:
    assert request_for("s", definition) is None


@pytest.mark.parametrize(
    "errors",
    [
        {},
        {"a": None, "b": None},
        {"a": Code.INTERNAL, "b": None},
        # Zeros may be wrong for a model that is right.
        {"a": Code.INVALID_ARGUMENT},
        {"a": Code.INVALID_ARGUMENT, "b": Code.INTERNAL},
    ],
)
def test_every_signature_is_tried_and_one_that_can_run_is_enough(errors: dict[str, Code | None]) -> None:
    model = Model(errors)

    try_out(model)

    assert model.asked == list(errors)


def test_model_none_of_whose_signatures_runs_is_refused() -> None:
    with pytest.raises(ServingError, match="a failed"):
        try_out(Model({"a": Code.FAILED_PRECONDITION, "b": Code.NOT_FOUND}))
