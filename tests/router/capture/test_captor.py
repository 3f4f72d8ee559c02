"""A worker keeps what a capture asks for, no more of it, and never what is to be left out."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from router.capture import captor as module
from router.capture.captor import Captor
from router.capture.margin import margin
from router.capture.messages import BeginCapture, Captured, EndCapture
from router.metrics import Metrics
from router.snapshot import PARTS
from serving import wire
from serving.arrays import from_numpy
from tests.router.samples import BACKEND, Instant, ask, bench, snapshot

EXPERIMENT = "digits-2026"


def order(**changes: Any) -> BeginCapture:
    made: dict[str, Any] = {
        "id": "c1",
        "experiment": EXPERIMENT,
        "arms": (),
        "margin_below": None,
        "redact": (),
        "interval_s": 1.0,
        "examples_max": 100,
        "until": 1000.0,
    }
    return BeginCapture(**made | changes)


class Stage:
    """A captor at work. Mutable: its clocks, and how many requests were made."""

    def __init__(self, *orders: BeginCapture) -> None:
        self.now, self.count = 0.0, 0
        self.metrics = Metrics()
        self.captor = Captor(self.metrics, clock=lambda: self.now, unix_now=lambda: self.now)
        for one in orders:
            self.captor.obey(one)

    def answer(self, value: float | None = None, arm: str = "v1", experiment: str = EXPERIMENT, **more: Any) -> None:
        """Answer a request; a time that is long enough has passed since the last one."""
        self.now, self.count = self.now + 1.0, self.count + 1
        scores = np.array([[0.5, 0.5 if value is None else value, 0.0]], np.float32)
        inputs = {"x": from_numpy(np.array([[self.count]], np.float32)), **more.get("inputs", {})}
        request = wire.PredictRequest(model_spec={"name": "digits"}, inputs=inputs, client_id=b"somebody")
        outputs = {"scores": from_numpy(scores), **more.get("outputs", {})}
        response = wire.PredictResponse(model_spec={"name": "digits"}, outputs=outputs)
        self.captor.answered(experiment, arm, "token", request, response.SerializeToString())

    def taken(self) -> list[Captured]:
        """What waits to be taken."""

        async def all_of_it() -> list[Captured]:
            found = []
            try:
                async with asyncio.timeout(0):
                    while True:
                        found.append(await self.captor.next())
            except TimeoutError:
                return found

        return asyncio.run(all_of_it())

    def counted(self, result: str) -> float:
        return (
            self.metrics.registry.get_sample_value(
                "turpin_captures_total", {"experiment": EXPERIMENT, "result": result}
            )
            or 0.0
        )


def test_answered_request_is_kept_with_arm_time_and_token() -> None:
    stage = Stage(order())

    stage.answer()

    (found,) = stage.taken()
    assert (found.id, found.example.arm, found.example.decision, found.example.at) == ("c1", "v1", "token", 1.0)
    assert list(wire.PredictRequest.FromString(found.example.request).inputs) == ["x"]
    assert list(wire.PredictResponse.FromString(found.example.response).outputs) == ["scores"]
    assert stage.counted("kept") == 1


def test_who_asked_is_never_kept() -> None:
    stage = Stage(order())

    stage.answer()

    assert b"somebody" not in stage.taken()[0].example.request


def test_nothing_is_kept_unless_it_is_asked_for() -> None:
    stage = Stage()
    stage.answer()
    assert not stage.captor.is_on
    assert stage.taken() == []


def test_other_experiments_and_arms_are_left_alone() -> None:
    stage = Stage(order(arms=("v2",)))

    stage.answer(arm="v1")
    stage.answer(arm="v2")
    stage.answer(arm="v2", experiment="other")

    assert [one.example.arm for one in stage.taken()] == ["v2"]


def test_only_borderline_answers_where_those_are_asked_for() -> None:
    stage = Stage(order(margin_below=0.125))

    for value in (0.0, 0.25, 0.375, 0.4375, 1.0):
        stage.answer(value)

    assert [one.example.margin for one in stage.taken()] == [0.0625]


def test_answer_without_scores_is_not_borderline() -> None:
    stage = Stage(order(margin_below=9.0))
    for scores in (
        np.array([1.0]),
        np.array([[1], [2]]),
        np.array([[np.nan, np.inf]]),
        np.array([[b"a", b"b"]], object),
    ):
        assert margin({"y": from_numpy(scores)}) is None

    stage.answer(float("nan"))

    # 0.5 and NaN: nobody knows which is best, and NaN sorts last.
    assert stage.taken() == []


def test_margin_is_that_of_the_row_where_the_best_two_are_nearest() -> None:
    several = from_numpy(np.array([[0.0, 1.0, 4.0], [7.0, 5.0, 0.0]]))
    near = from_numpy(np.array([[0.25, 0.5], [0.5, 0.5]], np.float16))

    assert margin({"a": several}) == 2.0
    assert margin({"a": several, "b": near}) == 0.0


def test_what_is_to_be_left_out_never_leaves_the_worker() -> None:
    stage = Stage(order(redact=("email", "echo")))
    secret = from_numpy(np.array([b"a@example.org"], object))

    stage.answer(inputs={"email": secret}, outputs={"echo": secret})

    (found,) = stage.taken()
    assert b"example.org" not in found.example.request + found.example.response
    assert list(wire.PredictResponse.FromString(found.example.response).outputs) == ["scores"]


def test_the_same_question_is_kept_once() -> None:
    stage = Stage(order())

    for _ in range(3):
        stage.count = 0
        stage.answer()

    assert len(stage.taken()) == 1
    assert stage.counted("repeated") == 2


def test_no_more_than_one_each_interval() -> None:
    stage = Stage(order(interval_s=10.0))

    for _ in range(40):
        stage.answer()

    assert [one.example.at for one in stage.taken()] == [1.0, 11.0, 21.0, 31.0]


@pytest.mark.parametrize("end", [lambda stage: stage.captor.obey(EndCapture("c1")), lambda stage: None])
def test_capture_ends_when_it_is_told_or_its_time_is_over(end: Callable[[Stage], None]) -> None:
    stage = Stage(order(until=3.0))
    stage.answer()
    end(stage)
    stage.now = max(stage.now, 2.5)

    stage.answer()

    assert not stage.captor.is_on
    assert len(stage.taken()) == 1


def test_capture_ends_with_its_last_example() -> None:
    stage = Stage(order(examples_max=2))

    for _ in range(4):
        stage.answer()

    assert len(stage.taken()) == 2
    assert not stage.captor.is_on


def test_order_that_comes_twice_begins_one_capture() -> None:
    stage = Stage(order(examples_max=2), order(examples_max=2))

    for _ in range(4):
        stage.answer()

    assert len(stage.taken()) == 2


def test_large_ones_are_left_out() -> None:
    stage = Stage(order())
    large = from_numpy(np.zeros((module.EXAMPLE_BYTES_MAX // 4,), np.float32), as_content=True)

    stage.answer(inputs={"image": large})

    assert stage.taken() == []
    assert stage.counted("large") == 1


def test_nobody_waits_for_one_that_finds_no_room() -> None:
    stage = Stage(order())

    for _ in range(20):
        stage.answer()

    assert len(stage.taken()) == 8
    assert (stage.counted("kept"), stage.counted("dropped")) == (8, 12)


def test_predictor_hands_over_what_it_answered() -> None:
    on = bench({BACKEND: Instant()}, [snapshot(0, PARTS)])
    captor = on.predictor._captor = Captor(on.metrics, clock=lambda: 0.0, unix_now=lambda: 0.0)
    captor.obey(order())

    reply = ask(on)

    found = asyncio.run(captor.next())
    assert (found.example.arm, found.example.decision, found.example.response) == ("v2", reply.decision, reply.body)
