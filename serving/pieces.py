"""Cut a request that is larger than its backend takes into several, and make one answer of theirs."""

from collections.abc import Callable, Sequence
from typing import Any

from serving import examples, tensors
from serving.errors import InternalError
from serving.wire import Message, PredictRequest, PredictResponse


def sizes_of(rows: int, rows_max: int) -> list[int]:
    """Return the rows of each piece: as few pieces as can be."""
    whole, rest = divmod(rows, rows_max)
    return [rows_max] * whole + [rest] * (rest > 0)


def divide_predict(request: Message, sizes: Sequence[int]) -> list[Message]:
    """Cut a mergeable PredictRequest into pieces of so many rows, in the sender's encoding."""
    # Joined alone, short lists of values are written out; cut as an answer would be.
    whole = PredictResponse(outputs=tensors.join([request]).inputs)
    return [
        PredictRequest(model_spec=request.model_spec, output_filter=request.output_filter, inputs=part.outputs)
        for part in tensors.split(whole, sizes)
    ]


def unite_predict(responses: Sequence[Message], sizes: Sequence[int]) -> Message:
    """Put PredictResponses together, in order; InternalError when they are not the rows of one answer."""
    parts = [PredictRequest(inputs=response.outputs) for response in responses]
    measured = [tensors.measure(part) for part in parts]
    rows = [rows for rows, _ in measured]
    if len({key for _, key in measured}) != 1 or rows != list(sizes):
        raise InternalError(f"pieces of {list(sizes)} rows were answered with {rows}: the model can't be batched")
    return PredictResponse(model_spec=responses[0].model_spec, outputs=tensors.join(parts).inputs)


def divide_examples(request: Message, sizes: Sequence[int]) -> list[Message]:
    """Cut a ClassificationRequest or RegressionRequest into pieces of so many Examples, each with the context."""
    pieces, start = [], 0
    for size in sizes:
        piece = type(request)()
        piece.CopyFrom(request)
        listed = examples.listed(piece)
        del listed[start + size :], listed[:start]
        pieces.append(piece)
        start += size
    return pieces


def unite_classified(responses: Sequence[Message], sizes: Sequence[int]) -> Message:
    """Put ClassificationResponses together, in order; InternalError when one has not a result an Example."""
    return _unite(responses, sizes, lambda each: each.result.classifications)


def unite_regressed(responses: Sequence[Message], sizes: Sequence[int]) -> Message:
    """Put RegressionResponses together, in order; InternalError when one has not a result an Example."""
    return _unite(responses, sizes, lambda each: each.result.regressions)


def _unite(responses: Sequence[Message], sizes: Sequence[int], results: Callable[[Message], Any]) -> Message:
    found = [len(results(response)) for response in responses]
    if found != list(sizes):
        raise InternalError(f"pieces of {list(sizes)} Examples had {found} results: the model can't be batched")
    united: Message = type(responses[0])()
    united.CopyFrom(responses[0])
    for response in responses[1:]:
        results(united).extend(results(response))
    return united
