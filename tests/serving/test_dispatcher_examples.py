"""Classify, Regress and MultiInference through the dispatcher: who rides with whom, and that one's fault is his own."""

import asyncio

from serving import methods, wire
from serving.dispatcher import Answer, Dispatcher
from serving.errors import BackendError, Code, ServingError
from serving.methods import Method
from tests.serving.replica import CALL_S, V1, outcome, run


class Regressor:
    """An Upstream whose every Example is answered with its own `x`; -1 is refused, and -2 answered with too little."""

    address = "replica:0"

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[float]]] = []

    async def call(self, method: str, body: bytes, timeout_s: float) -> bytes:
        (kind,) = (one for one in methods.METHODS if one.path == method)
        request = kind.request.FromString(body)
        values = [example.features.feature["x"].float_list.value[0] for example in request.input.example_list.examples]
        self.calls.append((method.rpartition("/")[2], values))
        await asyncio.sleep(CALL_S)
        if -1.0 in values:
            raise BackendError(Code.INVALID_ARGUMENT, "Could not parse example input")
        response = kind.response()
        for value in values[:1] if -2.0 in values else values:
            if kind is methods.CLASSIFY:
                response.result.classifications.add().classes.add(score=value)
            elif kind is methods.REGRESS:
                response.result.regressions.add(value=value)
            else:
                response.results.add().regression_result.regressions.add(value=value)
        return bytes(response.SerializeToString())

    async def close(self) -> None:
        pass


def request(method: Method, *values: float) -> wire.Message:
    made = method.request()
    for value in values:
        made.input.example_list.examples.add().features.feature["x"].float_list.value.append(value)
    return made


def scores(answer: Answer | ServingError) -> list[float]:
    assert isinstance(answer, Answer), answer
    result = answer.response.result
    if isinstance(answer.response, wire.ClassificationResponse):
        return [each.classes[0].score for each in result.classifications]
    return [each.value for each in result.regressions]


def ask(replica: Regressor, *asked: tuple[Method, wire.Message]) -> list[Answer | ServingError]:
    """Ask all at once, and return what became of each."""
    found: list[Answer | ServingError] = []

    async def scenario(dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        tasks = [group.create_task(outcome(dispatcher.predict(V1, message, 1.0, method))) for method, message in asked]
        found.extend([await task for task in tasks])

    run(scenario, replica, max_in_flight=8)
    return found


def test_requests_of_one_call_ride_together_and_calls_do_not_mix() -> None:
    replica = Regressor()

    answers = ask(
        replica,
        (methods.REGRESS, request(methods.REGRESS, 1, 2)),
        (methods.CLASSIFY, request(methods.CLASSIFY, 3)),
        (methods.REGRESS, request(methods.REGRESS, 4)),
        (methods.CLASSIFY, request(methods.CLASSIFY, 5)),
    )

    assert sorted(replica.calls) == [("Classify", [3, 5]), ("Regress", [1, 2, 4])]
    assert [scores(answer) for answer in answers] == [[1, 2], [3], [4], [5]]


def test_fault_of_one_request_is_nobody_elses() -> None:
    replica = Regressor()

    answers = ask(replica, *((methods.REGRESS, request(methods.REGRESS, value)) for value in (1, -1, 2)))

    assert [scores(answers[0]), scores(answers[2])] == [[1], [2]]
    assert isinstance(answers[1], BackendError)
    assert replica.calls == [("Regress", rows) for rows in ([1, -1, 2], [1], [-1, 2], [-1], [2])]


def test_model_that_gives_no_result_for_each_example_gets_requests_one_by_one_from_then_on() -> None:
    replica = Regressor()

    first = ask(replica, *((methods.REGRESS, request(methods.REGRESS, value)) for value in (-2, 1)))

    assert [scores(answer) for answer in first] == [[-2], [1]]
    assert replica.calls == [("Regress", [-2, 1]), ("Regress", [-2]), ("Regress", [1])]


def test_multi_inference_goes_alone() -> None:
    replica = Regressor()
    made = request(methods.MULTI_INFERENCE, 1)
    made.tasks.add().model_spec.name = "public"
    made.tasks.add().model_spec.name = "public"

    ask(replica, (methods.MULTI_INFERENCE, made), (methods.MULTI_INFERENCE, request(methods.MULTI_INFERENCE, 2)))

    assert replica.calls == [("MultiInference", [1]), ("MultiInference", [2])]
    # Every task is addressed, whatever it named itself.
    assert [(task.model_spec.name, task.model_spec.version.value) for task in made.tasks] == [("digits", 1)] * 2
