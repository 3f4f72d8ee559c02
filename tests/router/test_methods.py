"""All calls that run a model take part in an experiment alike; labels and version 0 are the gateway's to resolve."""

import asyncio
from typing import Any

import pytest

from router.choice import Context
from router.predict import Reply
from router.snapshot import PARTS, ArmRoute
from serving import methods, wire
from serving.errors import BackendError, Code, InvalidArgument, ServingError
from serving.methods import Method
from serving.upstream import Servable
from tests.router.samples import BACKEND, DEADLINE, MODEL, Bench, Instant, bench, body, predicted, snapshot, spec_of

V1, V2 = Servable(BACKEND, MODEL, 1), Servable(BACKEND, MODEL, 2)
NOT_LOADED = BackendError(Code.NOT_FOUND, "Servable not found for request: Specific(digits, 9)")


def sent(method: Method, *names: str, **spec: Any) -> bytes:
    """Return a request of the method for a model, or of MultiInference with a task for each name."""
    if method is methods.MULTI_INFERENCE:
        tasks = [{"model_spec": {"name": name, **spec}, "method_name": "m"} for name in names]
        return bytes(wire.MultiInferenceRequest(tasks=tasks).SerializeToString())
    return bytes(method.request(model_spec={"name": names[0], **spec}).SerializeToString())


def ask(on: Bench, method: Method, request: bytes) -> Reply:
    return asyncio.run(on.predictor.predict(request, Context(DEADLINE), method))


@pytest.mark.parametrize("method", methods.METHODS, ids=lambda method: method.path.rpartition("/")[2])
def test_every_call_is_drawn_and_bears_a_token(method: Method) -> None:
    dispatcher = Instant()
    on = bench({BACKEND: dispatcher}, [snapshot()])

    reply = ask(on, method, sent(method, MODEL))

    assert dispatcher.servables[0] in (V1, V2)
    assert on.keys.verify(reply.decision).rows == 2
    assert (reply.arm, reply.experiment) in (("v1", "digits-2026"), ("v2", "digits-2026"))
    (cell,) = (fields for fields in on.ledger.parcel().deltas.values() if fields.get("decisions"))
    assert (cell["decisions"], cell["rows"]) == (1, 2)


@pytest.mark.parametrize("method", methods.METHODS, ids=lambda method: method.path.rpartition("/")[2])
def test_every_call_may_pin_a_version_and_is_not_learned_from(method: Method) -> None:
    dispatcher = Instant()
    on = bench({BACKEND: dispatcher}, [snapshot()])

    reply = ask(on, method, sent(method, MODEL, version={"value": 2}))

    assert (dispatcher.servables, reply.decision) == ([V2], "")


def test_answer_of_every_task_bears_the_public_name() -> None:
    response = wire.MultiInferenceResponse()
    for _ in range(2):
        response.results.add().model_spec.name = "internal"

    for spec in methods.MULTI_INFERENCE.answer_specs(response):
        spec.name = "public"

    assert [result.model_spec.name for result in response.results] == ["public", "public"]


@pytest.mark.parametrize(
    ("method", "request_", "words"),
    [
        (methods.CLASSIFY, b"", r"^Missing ModelSpec$"),
        (methods.REGRESS, sent(methods.REGRESS, ""), r"^ModelSpec has no name specified\.$"),
        (methods.MULTI_INFERENCE, b"", r"^ModelSpec has no name specified\.$"),
        (methods.MULTI_INFERENCE, sent(methods.MULTI_INFERENCE, MODEL, ""), "Found ModelSpec with an empty model name"),
        (methods.MULTI_INFERENCE, sent(methods.MULTI_INFERENCE, MODEL, "other"), "must access the same model name"),
        (methods.MULTI_INFERENCE, sent(methods.MULTI_INFERENCE, *[MODEL] * 1_001), "at most 1000 tasks, this one 1001"),
        (methods.CLASSIFY, b"\xff", "the body is no ClassificationRequest"),
    ],
)
def test_request_that_names_no_one_model_is_refused(method: Method, request_: bytes, words: str) -> None:
    on = bench({BACKEND: Instant()}, [snapshot()])

    with pytest.raises(InvalidArgument, match=words):
        ask(on, method, request_)


def test_label_of_ours_goes_to_its_version_or_to_control_while_that_loads() -> None:
    loaded, loading = Instant(), Instant({Servable(BACKEND, MODEL, 9): NOT_LOADED})

    for dispatcher in (loaded, loading):
        on = bench({BACKEND: dispatcher}, [snapshot()], labels={(BACKEND, MODEL): {"next": 9}})
        reply = predicted(on, body(label="next"))
        assert (spec_of(reply).name, reply.decision) == (MODEL, "")

    assert loaded.servables == [Servable(BACKEND, MODEL, 9)]
    assert loading.servables == [Servable(BACKEND, MODEL, 9), V1]


def test_only_a_version_that_is_not_there_is_asked_for_elsewhere() -> None:
    broken = BackendError(Code.INTERNAL, "a fault of the model")
    missing = Instant({Servable(BACKEND, MODEL, 9): NOT_LOADED, V1: BackendError(Code.NOT_FOUND, "Latest(digits)")})

    for dispatcher, words in ((Instant({Servable(BACKEND, MODEL, 9): broken}), "a fault"), (missing, "Specific")):
        on = bench({BACKEND: dispatcher}, [snapshot()], labels={(BACKEND, MODEL): {"next": 9}})
        with pytest.raises(ServingError, match=words):
            predicted(on, body(label="next"))


def test_version_zero_means_none_where_there_is_no_such_version() -> None:
    dispatcher = Instant({Servable(BACKEND, "other", 0): NOT_LOADED})
    on = bench({BACKEND: dispatcher}, [snapshot()])

    drawn = predicted(on, body(version=0))
    passed = predicted(on, body("other", version=0))

    assert (bool(drawn.decision), dispatcher.servables[0] in (V1, V2)) == (True, True)
    assert dispatcher.servables[1:] == [Servable(BACKEND, "other", 0), Servable(BACKEND, "other", None)]
    assert spec_of(passed).name == "other"


def test_words_for_a_version_that_is_not_there_bear_the_public_name() -> None:
    arms = (ArmRoute("v1", BACKEND, "digits-internal", 1, PARTS), ArmRoute("v2", BACKEND, MODEL, 2, 0))
    gone = BackendError(Code.NOT_FOUND, "Servable not found for request: Specific(digits-internal, 9)")
    on = bench({BACKEND: Instant({Servable(BACKEND, "digits-internal", 9): gone})}, [snapshot(arms=arms)])

    with pytest.raises(BackendError, match=r"^Servable not found for request: Specific\(digits, 9\)$"):
        predicted(on, body(version=9))
