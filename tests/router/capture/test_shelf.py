"""Captures are bounded in number, in examples, in bytes and in time, and are shown as JSON that everybody reads."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.capture import shown
from router.capture.messages import BeginCapture, Captured, Example
from router.capture.shelf import CAPTURE_BYTES_MAX, CAPTURES_MAX, KEPT_S, Capture, Shelf
from serving import wire
from serving.arrays import from_numpy

ID = "c1"


def capture(id_: str = ID, **changes: Any) -> Capture:
    made: dict[str, Any] = {
        "id": id_,
        "experiment": "digits",
        "arms": (),
        "margin_below": None,
        "redact": (),
        "interval_s": 1.0,
        "examples_max": 3,
        "until": 100.0,
    }
    return Capture(BeginCapture(**made | changes), who="ops", why="why", per_minute=60, now=0.0)


def example(request: bytes = b"", response: bytes = b"") -> Example:
    return Example(1.5, "v1", "token", None, request, response)


class Stage(Shelf):
    """A shelf whose time stands still. Mutable: its clock, unix s."""

    def __init__(self, *captures: Capture) -> None:
        self.now = 5.0
        super().__init__(lambda: self.now, workers=1)
        for one in captures:
            self.add(one)

    def at(self, now: float) -> list[str]:
        """Look at it then."""
        self.now = now
        return self.step()


def take(shelf: Shelf, count: int, size_bytes: int = 1, id_: str = ID) -> None:
    for _ in range(count):
        shelf.take(Captured(id_, example(b"x" * size_bytes)))


def test_capture_ends_with_its_last_example() -> None:
    shelf = Stage(capture())

    take(shelf, 5)

    found = shelf.captures[ID]
    assert (len(found.examples), found.ended, found.ended_at) == (3, "examples", 5.0)
    assert (shelf.at(6.0), shelf.at(7.0)) == ([ID], [])


def test_capture_ends_before_it_holds_too_much() -> None:
    shelf = Stage(capture(examples_max=1000))

    take(shelf, 100, CAPTURE_BYTES_MAX // 10)

    found = shelf.captures[ID]
    assert (len(found.examples), found.ended) == (10, "bytes")
    assert found.size_bytes <= CAPTURE_BYTES_MAX


def test_capture_ends_when_its_time_is_over() -> None:
    shelf = Stage(capture())

    assert shelf.at(99.0) == []
    assert shelf.running("digits") is not None
    assert shelf.at(100.0) == [ID]
    assert (shelf.captures[ID].ended, shelf.captures[ID].ended_at, shelf.running("digits")) == ("time", 100.0, None)


def test_capture_is_forgotten_a_day_after_its_end() -> None:
    shelf = Stage(capture())
    shelf.at(100.0)

    shelf.at(100.0 + KEPT_S - 1)
    assert ID in shelf.captures
    shelf.at(100.0 + KEPT_S)
    assert shelf.captures == {}


def test_workers_are_told_of_one_that_was_deleted_while_it_ran() -> None:
    shelf = Stage(capture())
    shelf.remove(ID)

    assert (shelf.at(1.0), shelf.at(2.0)) == ([ID], [])
    take(shelf, 1)
    assert shelf.captures == {}


def test_no_more_captures_than_there_is_room_for() -> None:
    assert not Stage(*(capture(str(number)) for number in range(CAPTURES_MAX - 1))).is_full
    assert Stage(*(capture(str(number)) for number in range(CAPTURES_MAX))).is_full


def whole(**tensors: Any) -> Example:
    made = {name: from_numpy(np.array(values)) for name, values in tensors.items()}
    request = wire.PredictRequest(model_spec={"signature_name": "serving_default"}, inputs=made)
    response = wire.PredictResponse(model_spec={"name": "digits", "version": {"value": 2}}, outputs=made)
    return example(request.SerializeToString(), response.SerializeToString())


def test_example_is_shown_as_the_rest_api_writes_columns() -> None:
    view = shown.example_view(7, whole(x=np.array([[0.5, 2.0]], np.float32), n=[1, 2], is_new=[True]))

    assert (view["number"], view["arm"], view["version"], view["signature_name"]) == (7, "v1", 2, "serving_default")
    assert view["inputs"] == view["outputs"] == {"x": [[0.5, 2.0]], "n": [1, 2], "is_new": [True]}


def test_strings_are_text_where_they_are_text() -> None:
    view = shown.example_view(1, whole(s=np.array([["für", b"\xff"], [b"", b"a"]], object)))

    assert view["inputs"]["s"] == [["für", {"b64": "/w=="}], ["", "a"]]


@pytest.mark.parametrize("values", [[], [[]], [b""][:0], 3.5, b"one"])
def test_empty_and_bare_ones_keep_their_shape(values: Any) -> None:
    array = np.array(values, object) if isinstance(values, bytes) else np.array(values)

    view = shown.example_view(1, whole(x=array))

    assert view["inputs"]["x"] == (values.decode() if isinstance(values, bytes) else values)


def test_numbers_that_json_has_not_are_shown_all_the_same() -> None:
    raw, _ = shown.page([whole(x=[math.nan, math.inf, 1.0], c=[1j])], 0, 10)

    (found,) = json.loads(bytes(raw))
    assert found["inputs"]["x"] == [None, None, 1.0]
    assert found["inputs"]["c"].keys() == {"tensor_b64"}


@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 5))
def test_pages_hold_each_example_once_and_are_bounded(sizes: list[int], limit: int) -> None:
    examples = [whole(x=np.zeros(size << 6, np.float64)) for size in sizes]

    numbers, after = list[int](), 0
    while True:
        raw, following = shown.page(examples, after, limit, bytes_max=2048)
        found = [one["number"] for one in json.loads(bytes(raw))]
        held = sum(one.size_bytes for one in examples[after : after + len(found) - 1])
        assert len(found) <= limit
        assert held < 2048
        numbers += found
        if following is None:
            break
        after = following
    assert numbers == list(range(1, len(examples) + 1))


def test_view_of_a_capture_tells_nothing_of_what_it_has() -> None:
    shelf = Stage(capture())
    shelf.take(Captured(ID, example(b"canary")))

    view = shown.capture_view(shelf.captures[ID])

    assert "canary" not in str(view)
    assert (view["state"], view["examples"], view["size_bytes"], view["who"]) == ("running", 1, 6, "ops")
