"""A request cut into pieces, and the pieces' answers made one again: as if it had never been cut."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import methods, pieces, wire
from serving.errors import InternalError
from tests.serving.replica import identity, request
from tests.serving.test_examples import labels
from tests.serving.test_examples import request as examples_request

HALF = 19


def answer_of(piece: wire.Message) -> wire.Message:
    return wire.PredictResponse.FromString(identity(piece))


@given(st.integers(1, 100), st.integers(1, 100))
def test_pieces_are_full_but_the_last(rows: int, rows_max: int) -> None:
    sizes = pieces.sizes_of(rows, rows_max)

    assert sum(sizes) == rows
    assert all(size == rows_max for size in sizes[:-1])
    assert 1 <= sizes[-1] <= rows_max


@given(
    rows=st.integers(2, 20), rows_max=st.integers(1, 19), form=st.sampled_from(["list", "content", "short", "string"])
)
def test_rows_come_back_in_order_whatever_the_encoding(rows: int, rows_max: int, form: str) -> None:
    whole = request(0, rows)
    whole.output_filter.append("x")
    tensor = whole.inputs["x"]
    if form == "content":
        tensor.tensor_content = b"".join(number.to_bytes(8, "little") for number in tensor.int64_val)
        tensor.ClearField("int64_val")
    elif form == "short":
        del tensor.int64_val[1:]
    elif form == "string":
        tensor.dtype = 7
        tensor.string_val.extend(b"%d" % number for number in tensor.int64_val)
        tensor.ClearField("int64_val")
    sizes = pieces.sizes_of(rows, rows_max)
    cut = methods.PREDICT.divide(whole, sizes)
    united = methods.PREDICT.unite([answer_of(piece) for piece in cut], sizes)

    assert [piece.inputs["x"].tensor_shape.dim[0].size for piece in cut] == sizes
    assert all((piece.model_spec, list(piece.output_filter)) == (whole.model_spec, ["x"]) for piece in cut)
    expected = wire.PredictRequest.FromString(whole.SerializeToString()).inputs["x"]
    if form == "short":
        # The last value repeats.
        expected.tensor_content = bytes(8 * rows)
        expected.ClearField("int64_val")
    assert united.outputs["x"] == expected
    assert united.model_spec == whole.model_spec


def test_answers_that_are_not_their_pieces_rows_are_refused() -> None:
    one, other = answer_of(request(0, 2)), answer_of(request(2, 2))
    other.outputs["x"].dtype = 3

    with pytest.raises(InternalError, match=r"pieces of \[2, 1\] rows were answered with \[2, 2\]"):
        methods.PREDICT.unite([one, one], [2, 1])
    with pytest.raises(InternalError, match="can't be batched"):
        methods.PREDICT.unite([one, other], [2, 2])


@pytest.mark.parametrize("context", [None, 0.5])
def test_examples_are_cut_with_their_context_and_results_put_together(context: Any) -> None:
    whole = examples_request(0.0, 1.0, 2.0, context=context)
    cut = methods.CLASSIFY.divide(whole, [2, 1])
    answers = []
    for piece in cut:
        answers.append(wire.ClassificationResponse(model_spec={"name": "m"}))
        kind = getattr(piece.input, piece.input.WhichOneof("kind"))
        for example in kind.examples:
            value = example.features.feature["x"].float_list.value[0]
            answers[-1].result.classifications.add().classes.add(label=f"{value:.0f}", score=value)

    assert methods.CLASSIFY.join(cut, None) == whole
    assert labels(methods.CLASSIFY.unite(answers, [2, 1])) == ["0", "1", "2"]
    with pytest.raises(InternalError, match="had"):
        methods.CLASSIFY.unite(answers, [1, 2])
