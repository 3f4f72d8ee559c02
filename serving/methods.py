"""The calls that run a model: their messages, and how requests of each are merged, renamed and taken apart."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from serving import examples, pieces, tensors, wire
from serving.errors import InvalidArgument
from serving.wire import Message

# One for each signature of a model, as TF Serving has it; each is looked at.
_TASKS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Method:
    """One call of PredictionService. `measure` gives the rows of a request, None when it must go
    alone and as one, and what must be equal in a batch.

    `specs` and `answer_specs` list the ModelSpecs of a request and of a response: MultiInference has many.
    """

    path: str
    request: Any
    response: Any
    specs: Callable[[Message], Sequence[Message]]
    answer_specs: Callable[[Message], Sequence[Message]]
    measure: Callable[[Message], tuple[int | None, Hashable]]
    join: Callable[[Sequence[Message], int | None], Message]
    split: Callable[[Message, Sequence[int], int | None], list[Message]]
    divide: Callable[[Message, Sequence[int]], list[Message]]
    unite: Callable[[Sequence[Message], Sequence[int]], Message]

    def spec_of(self, request: Message) -> Message:
        """Return the ModelSpec that decides where a request goes; InvalidArgument in TF Serving's words and order."""
        if "model_spec" in self.request.DESCRIPTOR.fields_by_name and not request.HasField("model_spec"):
            raise InvalidArgument("Missing ModelSpec")
        specs = self.specs(request)
        if not specs or not specs[0].name:
            raise InvalidArgument("ModelSpec has no name specified.")
        for spec in specs[1:]:
            if not spec.name:
                raise InvalidArgument("Found ModelSpec with an empty model name.")
            if spec.name != specs[0].name:
                raise InvalidArgument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        return specs[0]

    def signature_of(self, request: Message) -> str:
        """Name the signature of a request that may be merged."""
        return str(self.specs(request)[0].signature_name or wire.DEFAULT_SIGNATURE)


def _one(message: Message) -> Sequence[Message]:
    return (message.model_spec,)


def _tasks(request: Message) -> Sequence[Message]:
    if len(request.tasks) > _TASKS_MAX:
        raise InvalidArgument(f"a MultiInferenceRequest has at most {_TASKS_MAX} tasks, this one {len(request.tasks)}")
    return [task.model_spec for task in request.tasks]


def _no_join(requests: Sequence[Message], pad_to: int | None) -> Message:
    raise AssertionError("a MultiInferenceRequest goes alone")


def _no_split(response: Message, rows: Sequence[int], pad_to: int | None = None) -> list[Message]:
    raise AssertionError("a MultiInferenceResponse belongs to one request")


def _no_unite(responses: Sequence[Message], sizes: Sequence[int]) -> Message:
    raise AssertionError("a MultiInferenceRequest goes as one")


PREDICT: Final = Method(
    wire.PREDICT,
    wire.PredictRequest,
    wire.PredictResponse,
    _one,
    _one,
    tensors.measure,
    tensors.join,
    tensors.split,
    pieces.divide_predict,
    pieces.unite_predict,
)
CLASSIFY: Final = Method(
    wire.CLASSIFY,
    wire.ClassificationRequest,
    wire.ClassificationResponse,
    _one,
    _one,
    examples.measure,
    examples.join,
    examples.split_classified,
    pieces.divide_examples,
    pieces.unite_classified,
)
REGRESS: Final = Method(
    wire.REGRESS,
    wire.RegressionRequest,
    wire.RegressionResponse,
    _one,
    _one,
    examples.measure,
    examples.join,
    examples.split_regressed,
    pieces.divide_examples,
    pieces.unite_regressed,
)
# Several signatures in one call: what might be gained by merging them is not worth what could go wrong.
MULTI_INFERENCE: Final = Method(
    wire.MULTI_INFERENCE,
    wire.MultiInferenceRequest,
    wire.MultiInferenceResponse,
    _tasks,
    lambda response: [result.model_spec for result in response.results],
    lambda request: (None, None),
    _no_join,
    _no_split,
    _no_split,
    _no_unite,
)

METHODS: Final = (PREDICT, CLASSIFY, REGRESS, MULTI_INFERENCE)
