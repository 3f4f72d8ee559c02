"""Join the Examples of several Classify or Regress requests into one batch, and hand the results out again.

Merged are only requests whose Examples all hold the same features, each with as many values: then nothing a model
makes of one row (a padded list of classes, say) can depend on who else rides along. All others go alone.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet

from serving.errors import InternalError
from serving.wire import DEFAULT_SIGNATURE, Message


def measure(request: Message) -> tuple[int | None, Hashable]:
    """Return how many Examples a request has, None when it must go alone, and all that must be equal between requests of
    one batch, but for method and servable.

    Alone goes what has no Examples, Examples that differ in their features, or fields this program doesn't know.
    """
    examples, sent = listed(request), request.input
    first = _features(examples[0]) if examples else None
    is_alone = len(UnknownFieldSet(request)) or len(UnknownFieldSet(sent)) or first is None
    is_alone = is_alone or any(_features(example) != first for example in examples[1:])
    has_context = sent.WhichOneof("kind") == "example_list_with_context"
    context = sent.example_list_with_context.context.SerializeToString(deterministic=True) if has_context else None
    return None if is_alone else len(examples), (request.model_spec.signature_name or DEFAULT_SIGNATURE, context, first)


def join(requests: Sequence[Message], pad_to: int | None = None) -> Message:
    """Join requests of equal keys, in order; up to `pad_to` rows are added, each the last request's first."""
    joined = type(requests[0])()
    joined.CopyFrom(requests[0])
    examples = listed(joined)
    for request in requests[1:]:
        examples.extend(listed(request))
    if pad_to is not None:
        if pad_to < len(examples):
            raise ValueError(f"pad_to must be at least the {len(examples)} rows of the batch, got {pad_to}")
        examples.extend([listed(requests[-1])[0]] * (pad_to - len(examples)))
    return joined


def split_classified(response: Message, rows: Sequence[int], pad_to: int | None = None) -> list[Message]:
    """Cut a ClassificationResponse into one per request; InternalError when it has not one result an Example."""
    return _split(response, lambda each: each.result.classifications, rows, pad_to)


def split_regressed(response: Message, rows: Sequence[int], pad_to: int | None = None) -> list[Message]:
    """Cut a RegressionResponse into one per request; InternalError when it has not one result an Example."""
    return _split(response, lambda each: each.result.regressions, rows, pad_to)


def _split(
    response: Message, results: Callable[[Message], Any], rows: Sequence[int], pad_to: int | None
) -> list[Message]:
    whole = results(response)
    expected = sum(rows) if pad_to is None else pad_to
    if len(whole) != expected:
        raise InternalError(f"{len(whole)} results, but {expected} Examples were sent: the model can't be batched")
    parts, start = [], 0
    for count in rows:
        part = type(response)()
        part.model_spec.CopyFrom(response.model_spec)
        results(part).extend(whole[start : start + count])
        parts.append(part)
        start += count
    return parts


def listed(request: Message) -> Any:
    """Return the list of Examples, with or without a context; empty when there is no input."""
    kind = request.input.WhichOneof("kind")
    return getattr(request.input, kind).examples if kind else ()


def _features(example: Message) -> Hashable | None:
    """Return the names, kinds and lengths of an Example's features; None when it holds what this program doesn't know."""
    found = []
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        found.append((name, kind, len(getattr(feature, kind).value) if kind else 0))
    return None if len(UnknownFieldSet(example)) else frozenset(found)
