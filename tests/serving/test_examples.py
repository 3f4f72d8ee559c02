"""Examples of several requests in one: only what is safe is merged, and each gets its own results back."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import examples, methods, wire
from serving.errors import InternalError


def request(*values: float, context: float | None = None, signature: str = "", **features: Any) -> wire.Message:
    """Return a ClassificationRequest of Examples {x: value}, and of `features` as lists of int64."""
    made = wire.ClassificationRequest(model_spec={"name": "m", "signature_name": signature})
    listed = made.input.example_list
    if context is not None:
        listed = made.input.example_list_with_context
        listed.context.features.feature["c"].float_list.value.append(context)
    listed.SetInParent()
    for value in values:
        example = listed.examples.add()
        example.features.feature["x"].float_list.value.append(value)
        for name, numbers in features.items():
            example.features.feature[name].int64_list.value.extend(numbers)
    return made


def response(count: int) -> wire.Message:
    """Return results numbered from 0."""
    made = wire.ClassificationResponse(model_spec={"name": "m", "version": {"value": 3}})
    for number in range(count):
        made.result.classifications.add().classes.add(label=str(number), score=number)
    return made


def labels(part: wire.Message) -> list[str]:
    return [each.classes[0].label for each in part.result.classifications]


def mixed() -> wire.Message:
    """Two Examples, of which only one has the feature `y`."""
    made = request(1, 2)
    made.input.example_list.examples[1].features.feature["y"].int64_list.value.append(1)
    return made


def unknown() -> wire.Message:
    made = request(1)
    made.MergeFromString(b"\xfa\x01\x01x")  # field 31
    return made


@pytest.mark.parametrize(
    ("made", "rows"),
    [
        (lambda: request(1), 1),
        (lambda: request(1, 2, 3), 3),
        (lambda: request(1, 2, context=5), 2),
        (request, None),
        (wire.ClassificationRequest, None),
        (mixed, None),
        (unknown, None),
    ],
)
def test_rows_are_examples_that_are_alike(made: Callable[[], wire.Message], rows: int | None) -> None:
    assert examples.measure(made())[0] == rows


@pytest.mark.parametrize(
    "other",
    [
        request(1, signature="other"),
        request(1, context=5),
        request(1, y=[1]),
        request(1, y=[1, 2]),
        request(1, y=[]),
    ],
)
def test_requests_that_differ_are_not_merged(other: wire.Message) -> None:
    assert examples.measure(request(1))[1] != examples.measure(other)[1]


def test_requests_of_one_context_are_merged() -> None:
    assert examples.measure(request(1, context=5))[1] == examples.measure(request(2, 3, context=5))[1]
    assert examples.measure(request(1, context=5))[1] != examples.measure(request(1, context=6))[1]
    assert examples.measure(request(1))[1] == examples.measure(request(2, signature="serving_default"))[1]


@given(
    st.lists(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=4), min_size=2, max_size=5),
    st.integers(0, 5),
)
def test_everyone_gets_the_results_of_his_own_examples(values: Sequence[Sequence[float]], padding: int) -> None:
    requests = [request(*each) for each in values]
    counts = [len(each) for each in values]
    total = sum(counts)

    joined = examples.join(requests, total + padding)
    parts = examples.split_classified(response(total + padding), counts, total + padding)

    sent = [each.features.feature["x"].float_list.value[0] for each in joined.input.example_list.examples]
    assert sent == [value for each in values for value in each] + [values[-1][0]] * padding
    assert [int(label) for part in parts for label in labels(part)] == list(range(total))
    assert [len(labels(part)) for part in parts] == counts
    assert all(part.model_spec.version.value == 3 for part in parts)


def test_joining_leaves_the_requests_as_they_were() -> None:
    first, second = request(1), request(2, 3)
    before = first.SerializeToString(deterministic=True)

    examples.join([first, second])

    assert first.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("split", [methods.CLASSIFY.split, methods.REGRESS.split])
def test_answer_without_a_result_for_each_example_is_a_model_that_can_not_be_batched(split: Any) -> None:
    answer = response(2) if split is methods.CLASSIFY.split else wire.RegressionResponse()

    with pytest.raises(InternalError, match="results, but 3 Examples were sent: the model can't be batched"):
        split(answer, [1, 2], None)


def test_padding_below_the_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="at least the 3 rows"):
        examples.join([request(1, 2), request(3)], 2)
