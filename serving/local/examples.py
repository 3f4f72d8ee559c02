"""Classify, Regress and MultiInference: Examples to a graph's one input, and its outputs to results.

Source of the rules and texts: tensorflow_serving/servables/tensorflow/classifier.cc, regressor.cc, multi_inference.cc
and util.cc (commit 9d981c5c), with signatures' method names unchecked, which is the server's default.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serving import dtypes, wire
from serving.errors import FailedPrecondition, InvalidArgument, Unimplemented
from serving.local.versions import Engine

CLASSIFY: Final = "tensorflow/serving/classify"
REGRESS: Final = "tensorflow/serving/regress"

# The aliases that make a signature one of these (saved_model/signature_constants.h).
_INPUTS: Final = "inputs"
_CLASSES: Final = "classes"
_SCORES: Final = "scores"
_OUTPUTS: Final = "outputs"


@dataclass(frozen=True, slots=True)
class Task:
    """One signature to be asked: its method, its input's tensor, and the tensors and DataTypes of its outputs by alias."""

    method: str
    feed: str
    fetches: Mapping[str, tuple[str, int]]


def task_of(method: str, definition: wire.Message) -> Task:
    """Read a SignatureDef as one for this method; ServingError when it is none."""
    if method == CLASSIFY:
        return _classification(definition)
    if method == REGRESS:
        return _regression(definition)
    raise Unimplemented(f"Unsupported signature method_name: {method}")


def infer(engine: Engine, tasks: Sequence[Task], sent: wire.Message) -> list[wire.Message]:
    """Run an Input through the graph once, and return each task's ClassificationResult or RegressionResult."""
    examples = _serialized(sent)
    names = tuple(sorted({tensor for task in tasks for tensor, _ in task.fetches.values()}))
    arrays = dict(zip(names, engine.run((tasks[0].feed,), names, (examples,)), strict=True))
    return [
        _classified(task, arrays, len(examples)) if task.method == CLASSIFY else _regressed(task, arrays, len(examples))
        for task in tasks
    ]


def _classification(definition: wire.Message) -> Task:
    if len(definition.inputs) != 1:
        raise InvalidArgument("Expected one input Tensor.")
    if len(definition.outputs) not in (1, 2):
        raise InvalidArgument(f"Expected one or two output Tensors, found {len(definition.outputs)}")
    if _INPUTS not in definition.inputs:
        raise FailedPrecondition(f"No classification inputs found in SignatureDef: {definition}")
    if _CLASSES not in definition.outputs and _SCORES not in definition.outputs:
        raise FailedPrecondition(
            'Expected classification signature outputs to contain at least one of "classes" or "scores".'
            f" Signature was: {definition}"
        )
    return _task(CLASSIFY, definition, [name for name in (_CLASSES, _SCORES) if name in definition.outputs])


def _regression(definition: wire.Message) -> Task:
    if len(definition.inputs) != 1:
        raise InvalidArgument("Expected one input Tensor.")
    if len(definition.outputs) != 1:
        raise InvalidArgument("Expected one output Tensor.")
    if _INPUTS not in definition.inputs:
        raise FailedPrecondition(f"No regression inputs found in SignatureDef: {definition}")
    if _OUTPUTS not in definition.outputs:
        raise FailedPrecondition(f"No regression outputs found in SignatureDef: {definition}")
    return _task(REGRESS, definition, [_OUTPUTS])


def _task(method: str, definition: wire.Message, outputs: Sequence[str]) -> Task:
    fetches = {alias: (definition.outputs[alias].name, definition.outputs[alias].dtype) for alias in outputs}
    return Task(method, definition.inputs[_INPUTS].name, fetches)


def _serialized(sent: wire.Message) -> NDArray[Any]:
    """Return the Examples of an Input as a vector of their bytes; a context goes before each of them."""
    kind = sent.WhichOneof("kind")
    examples = getattr(sent, kind).examples if kind else ()
    if not examples:
        raise InvalidArgument("Input is empty.")
    context = sent.example_list_with_context.context.SerializeToString() if "context" in kind else b""
    vector = np.empty(len(examples), object)
    vector[:] = [context + example.SerializeToString() for example in examples]
    return vector


def _classified(task: Task, arrays: Mapping[str, NDArray[Any]], count: int) -> wire.Message:
    columns: dict[str, NDArray[Any]] = {}
    for alias, wanted in ((_CLASSES, dtypes.STRING), (_SCORES, dtypes.FLOAT)):
        if alias not in task.fetches:
            continue
        tensor, dtype = task.fetches[alias]
        array = columns[alias] = arrays[tensor]
        if array.ndim != 2:
            raise InvalidArgument(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
        if dtype != wanted:
            raise InvalidArgument(f"Expected {alias} Tensor of {_type_name(wanted)}. Got: {_type_name(dtype)}")
        if len(array) != count:
            raise InvalidArgument(f"Expected {alias} output batch size of {count}. Got: {len(array)}")
    sizes = [array.shape[1] for array in columns.values()]
    if len(set(sizes)) > 1:
        raise InvalidArgument(f"Tensors class and score should match in dim_size(1). Got {sizes[0]} vs. {sizes[1]}")
    lists = {alias: array.tolist() for alias, array in columns.items()}
    result = wire.ClassificationResult()
    for row in range(count):
        classes = result.classifications.add().classes
        for place in range(sizes[0]):
            one = classes.add()
            if _CLASSES in lists:
                one.label = lists[_CLASSES][row][place]
            if _SCORES in lists:
                one.score = lists[_SCORES][row][place]
    return result


def _regressed(task: Task, arrays: Mapping[str, NDArray[Any]], count: int) -> wire.Message:
    tensor, dtype = task.fetches[_OUTPUTS]
    array = arrays[tensor]
    if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
        raise InvalidArgument(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape(array)}"
        )
    if len(array) != count:
        raise InvalidArgument(f"Input batch size did not match output batch size: {count} vs. {len(array)}")
    if dtype != dtypes.FLOAT:
        raise InvalidArgument(f"Expected output Tensor of DT_FLOAT.  Got: {_type_name(dtype)}")
    result = wire.RegressionResult()
    for value in array.ravel().tolist():
        result.regressions.add().value = value
    return result


def _shape(array: NDArray[Any]) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def _type_name(dtype: int) -> str:
    return f"DT_{dtypes.name(dtype).upper()}"
