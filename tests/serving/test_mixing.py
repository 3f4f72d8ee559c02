"""Models whose rows depend on one another are found out, and those whose do not are believed."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serving import dtypes, wire
from serving.arrays import from_numpy, to_numpy
from serving.errors import BackendError, Code, InvalidArgument, ServingError
from serving.mixing import mixing
from serving.upstream import Servable

Rows = NDArray[Any]
TARGET = Servable("tfs-a", "digits", 3)


class Model:
    """An Upstream that is a function of the whole batch. Mutable: how often it was asked."""

    address = "tfs:1"

    def __init__(self, function: Callable[[Rows], Rows]) -> None:
        self.function = function
        self.calls = 0

    async def call(self, method: str, body: bytes, timeout_s: float) -> bytes:
        assert method == wire.PREDICT
        assert timeout_s == 5.0
        self.calls += 1
        request = wire.PredictRequest.FromString(body)
        response = wire.PredictResponse(model_spec=request.model_spec)
        response.outputs["scores"].CopyFrom(from_numpy(self.function(to_numpy(request.inputs["x"]))))
        return bytes(response.SerializeToString())

    async def close(self) -> None:
        pass


def signature(dtype: int = dtypes.FLOAT, rows: int = -1) -> wire.Message:
    shape = {"dim": [{"size": rows}, {"size": 4}]}
    return wire.SignatureDef(inputs={"x": {"name": "x:0", "dtype": dtype, "tensor_shape": shape}})


def asked(function: Callable[[Rows], Rows], of: wire.Message | None = None) -> str:
    return asyncio.run(mixing(TARGET, Model(function), of or signature(), 5.0))


def softmax(rows: Rows, axis: int) -> Rows:
    powers: Rows = np.exp(rows - rows.max(axis=axis, keepdims=True))
    shares: Rows = powers / powers.sum(axis=axis, keepdims=True)
    return shares


@pytest.mark.parametrize(
    "function",
    [
        lambda rows: rows @ np.arange(8, dtype=np.float32).reshape(4, 2),
        lambda rows: softmax(rows, axis=1),
        lambda rows: rows.argmax(axis=1).astype(np.int64),
        lambda rows: np.full(len(rows), np.nan, np.float32),
        # What bfloat16 leaves of a number, and a kernel of its own for larger batches, in which one class wins for another.
        lambda rows: rows * (1 + 0.003 * (len(rows) > 2)),
        lambda rows: np.full(len(rows), len(rows), np.int64),
        lambda rows: np.array([b"a"] * len(rows), object),
    ],
    ids=["linear", "softmax", "classes", "nan", "rounding", "other kernels", "strings"],
)
def test_rows_that_stand_for_themselves_may_ride_together(function: Callable[[Rows], Rows]) -> None:
    assert asked(function) == ""


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda rows: softmax(rows, axis=0), 'beside others: output "scores" differs by'),
        (lambda rows: rows - rows.mean(axis=0), 'beside others: output "scores" differs by'),
        (lambda rows: rows[:, 0].argsort().argsort().astype(np.int64), "of its values"),
        (lambda rows: np.where(rows[-1, 0] > rows[-1, 1], np.nan, rows), "in what is not finite"),
        (lambda rows: rows / len(rows), 'alone and among 4: output "scores" differs by'),
        (lambda rows: rows[:1], "the model can't be batched"),
        (lambda rows: rows.reshape(-1), "the model can't be batched"),
    ],
    ids=["softmax over rows", "norm over rows", "rank among rows", "nan", "share of all", "one row", "flat"],
)
def test_rows_that_depend_on_one_another_are_found(function: Callable[[Rows], Rows], words: str) -> None:
    assert words in asked(function)


def test_a_model_that_never_says_the_same_is_not_merged() -> None:
    rng = np.random.default_rng(1)

    assert "differ from call to call" in asked(lambda rows: rng.standard_normal(rows.shape).astype(np.float32))


@pytest.mark.parametrize("dtype", [dtypes.FLOAT, dtypes.HALF, dtypes.INT64, dtypes.BOOL, dtypes.STRING])
def test_inputs_of_any_type_are_made_up(dtype: int) -> None:
    seen: list[Rows] = []

    def note(rows: Rows) -> Rows:
        seen.append(rows)
        return rows

    assert asked(note, signature(dtype)) == ""
    assert [rows.shape for rows in seen] == [(2, 4), (4, 4), (4, 4), (4, 4)]
    if dtype != dtypes.STRING:
        # Rows of zeros would look alike whatever a model does with them.
        assert len(np.unique(seen[1], axis=0)) > 1
        assert not np.array_equal(seen[2], seen[3])


def test_a_model_with_an_input_that_is_not_of_the_batch_is_never_merged_and_so_not_asked() -> None:
    both = signature()
    both.inputs["k"].name, both.inputs["k"].dtype = "k:0", dtypes.INT32
    both.inputs["k"].tensor_shape.SetInParent()

    def refuse(rows: Rows) -> Rows:
        raise AssertionError("nobody was to be asked")

    assert asked(refuse, both) == ""


def test_a_model_that_can_not_be_asked_is_an_error() -> None:
    def refuse(rows: Rows) -> Rows:
        raise BackendError(Code.INVALID_ARGUMENT, "no such word")

    with pytest.raises(ServingError, match="no such word"):
        asked(refuse)
    with pytest.raises(InvalidArgument, match="fixes its rows"):
        asked(lambda rows: rows, signature(rows=1))
