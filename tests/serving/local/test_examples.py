"""What a signature must be for Classify and Regress, and what its outputs may be: TF Serving's words for each fault."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from serving import wire
from serving.errors import Code, ServingError
from serving.local import examples


class Graph:
    """An engine whose tensors have fixed values; remembers what it was fed."""

    def __init__(self, **tensors: Any) -> None:
        self.signatures: Mapping[str, Any] = {}
        self.tensors = {f"{name}:0": np.asarray(value) for name, value in tensors.items()}
        self.fed: list[Any] = []

    def predict(self, request: wire.Message) -> wire.Message:
        raise NotImplementedError

    def run(self, feeds: tuple[str, ...], fetches: tuple[str, ...], inputs: Sequence[Any]) -> Sequence[Any]:
        self.fed.append((feeds, [each.tolist() for each in inputs]))
        return [self.tensors[name] for name in fetches]

    def close(self) -> None:
        raise NotImplementedError


def signature(inputs: Mapping[str, int], outputs: Mapping[str, int]) -> wire.Message:
    """Return a SignatureDef; each tensor is named as its alias."""
    sides = [
        {alias: {"name": f"{alias}:0", "dtype": dtype} for alias, dtype in side.items()} for side in (inputs, outputs)
    ]
    return wire.SignatureDef(inputs=sides[0], outputs=sides[1])


def two_examples() -> wire.Message:
    sent = wire.ClassificationRequest().input
    for value in (1, 2):
        sent.example_list.examples.add().features.feature["x"].int64_list.value.append(value)
    return sent


@pytest.mark.parametrize(
    ("method", "definition", "code", "words"),
    [
        (examples.CLASSIFY, signature({}, {"scores": 1}), Code.INVALID_ARGUMENT, "Expected one input Tensor."),
        (
            examples.CLASSIFY,
            signature({"inputs": 7}, {"a": 1, "b": 1, "c": 1}),
            Code.INVALID_ARGUMENT,
            "Expected one or two output Tensors, found 3",
        ),
        (
            examples.CLASSIFY,
            signature({"x": 7}, {"scores": 1}),
            Code.FAILED_PRECONDITION,
            "No classification inputs found in SignatureDef: ",
        ),
        (
            examples.CLASSIFY,
            signature({"inputs": 7}, {"y": 1}),
            Code.FAILED_PRECONDITION,
            'Expected classification signature outputs to contain at least one of "classes" or "scores".',
        ),
        (
            examples.REGRESS,
            signature({"a": 7, "b": 7}, {"outputs": 1}),
            Code.INVALID_ARGUMENT,
            "Expected one input Tensor.",
        ),
        (examples.REGRESS, signature({"inputs": 7}, {}), Code.INVALID_ARGUMENT, "Expected one output Tensor."),
        (
            examples.REGRESS,
            signature({"x": 7}, {"outputs": 1}),
            Code.FAILED_PRECONDITION,
            "No regression inputs found in SignatureDef: ",
        ),
        (
            examples.REGRESS,
            signature({"inputs": 7}, {"y": 1}),
            Code.FAILED_PRECONDITION,
            "No regression outputs found in SignatureDef: ",
        ),
        ("m", signature({}, {}), Code.UNIMPLEMENTED, "Unsupported signature method_name: m"),
    ],
)
def test_signature_that_does_not_fit_is_refused(method: str, definition: wire.Message, code: Code, words: str) -> None:
    with pytest.raises(ServingError) as raised:
        examples.task_of(method, definition)

    assert raised.value.code is code
    assert raised.value.message.startswith(words)


@pytest.mark.parametrize(
    ("method", "outputs", "tensors", "words"),
    [
        (
            examples.CLASSIFY,
            {"scores": 1},
            {"scores": [1.0, 2.0]},
            "Expected Tensor shape: [batch_size num_classes] but got [2]",
        ),
        (
            examples.CLASSIFY,
            {"scores": 9},
            {"scores": [[1], [2]]},
            "Expected scores Tensor of DT_FLOAT. Got: DT_INT64",
        ),
        (
            examples.CLASSIFY,
            {"classes": 1},
            {"classes": [[1.0], [2.0]]},
            "Expected classes Tensor of DT_STRING. Got: DT_FLOAT",
        ),
        (examples.CLASSIFY, {"scores": 1}, {"scores": [[1.0]]}, "Expected scores output batch size of 2. Got: 1"),
        (
            examples.CLASSIFY,
            {"classes": 7, "scores": 1},
            {"classes": [[b"a", b"b"], [b"a", b"b"]], "scores": [[1.0], [2.0]]},
            "Tensors class and score should match in dim_size(1). Got 2 vs. 1",
        ),
        (
            examples.REGRESS,
            {"outputs": 1},
            {"outputs": [[1.0, 2.0], [3.0, 4.0]]},
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]",
        ),
        (
            examples.REGRESS,
            {"outputs": 1},
            {"outputs": [1.0]},
            "Input batch size did not match output batch size: 2 vs. 1",
        ),
        (
            examples.REGRESS,
            {"outputs": 2},
            {"outputs": [1.0, 2.0]},
            "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE",
        ),
    ],
)
def test_output_that_is_no_result_is_refused(
    method: str, outputs: dict[str, int], tensors: dict[str, Any], words: str
) -> None:
    task = examples.task_of(method, signature({"inputs": 7}, outputs))

    with pytest.raises(ServingError) as raised:
        examples.infer(Graph(**tensors), [task], two_examples())

    assert (raised.value.code, raised.value.message) == (Code.INVALID_ARGUMENT, words)


def test_several_tasks_are_one_run_of_the_graph() -> None:
    graph = Graph(scores=[[1.0], [2.0]], outputs=[3.0, 4.0])
    tasks = [
        examples.task_of(examples.REGRESS, signature({"inputs": 7}, {"outputs": 1})),
        examples.task_of(examples.CLASSIFY, signature({"inputs": 7}, {"scores": 1})),
    ]
    sent = two_examples()

    regressed, classified = examples.infer(graph, tasks, sent)

    assert [each.value for each in regressed.regressions] == [3.0, 4.0]
    assert [[one.score for one in each.classes] for each in classified.classifications] == [[1.0], [2.0]]
    assert graph.fed == [(("inputs:0",), [[each.SerializeToString() for each in sent.example_list.examples]])]
